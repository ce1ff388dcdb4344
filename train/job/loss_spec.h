// What a job says about its loss: the object "loss" of the specification, in JSON and as a struct.
// Pure; any thread.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace tristill::job {

class Fields;

// How far the student is from the teacher: a file each in train/loss.
enum class Divergence { forward_kl, reverse_kl, jsd, skew_kl, skew_reverse_kl };
std::string_view to_string(Divergence divergence);

// What stands for the tokens that the teacher did not list: train/loss/distillation.h.
enum class Tail {
  other,    // one bin of its own with all that is left
  ignore,   // nothing: both sides are renormalised over the list. Biased: no mass for the rest
  sampled,  // other, and the shape of the tail from tokens drawn from the teacher (sampling t1)
  counts,   // nothing is left: lists are shares of random draws (random-sampling distillation)
};
std::string_view to_string(Tail tail);

struct DistillationSpec {
  Divergence divergence = Divergence::forward_kl;
  double temperature = 1.0;
  Tail tail = Tail::other;
  double jsd_beta = 0.5;    // jsd: towards 0 forward KL, towards 1 reverse KL
  double skew_alpha = 0.1;  // skew_*: share of the other side in the mixture
};

struct LossSpec {
  double ce_weight = 0.5;   // where a teacher's distribution is known; 1 elsewhere
  double kd_weight = 0.5;
  double z_loss = 1e-4;
  double label_smoothing = 0.0;  // share of the label that all tokens get alike
  double focal_gamma = 0.0;      // how much less a label counts that is given already
  DistillationSpec distillation;  // its fields stand beside the others in JSON
  double format_weight = 0.0;     // of the cross-entropy of tokens of structure
  std::string format_characters = "{}[]:,\"";  // a token with one of them is one of structure
};

// Reads the fields of the object; refuses settings that contradict each other.
void read_loss(Fields& fields, LossSpec& loss);

// What read_loss accepts and reads back the same: only the settings that are in use.
nlohmann::json loss_json(const LossSpec& loss);

}  // namespace tristill::job
