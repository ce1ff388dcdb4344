// What a job says about teachers that are asked while it trains: the object "teaching" of the
// specification, in JSON and as structs. Teachers that answered before are data.traces. Pure; any
// thread.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

namespace tristill::job {

class Fields;

// A model that this daemon serves, with the student's tokenizer.
struct TeacherSource {
  std::string model;
  double weight = 1.0;  // of its probabilities in the mixture, relative to the others'
};

struct TeachingSpec {
  std::vector<TeacherSource> teachers;  // none: the fields below are not used

  // Attention relations of one layer (train/loss/attention_relation.h); 0 is off.
  double relation_weight = 0;
  std::optional<uint32_t> relation_layer;          // the student's; default three quarters up
  std::optional<uint32_t> relation_teacher_layer;  // default three quarters up
  uint32_t relation_heads = 1;                     // that widths are split into

  // Share of each batch's rows whose end the student writes itself, at this temperature, for the
  // teachers to judge (train/teach/on_policy.h).
  double on_policy_share = 0;
  double on_policy_temperature = 1;
};

void read_teaching(Fields& fields, TeachingSpec& teaching);

// Only what is in use.
nlohmann::json teaching_json(const TeachingSpec& teaching);

}  // namespace tristill::job
