#include "train/job/teaching_spec.h"

#include "train/job/data_spec.h"
#include "train/job/fields.h"

namespace tristill::job {
namespace {

constexpr const char* kRelation[] = {"relation_layer", "relation_teacher_layer", "relation_heads"};

// Settings that would not do what they say.
void check_teaching(Fields& fields, const TeachingSpec& teaching) {
  const auto refuse = [&](const char* field, const std::string& why) {
    if (fields.has(field)) fields.fail(field, "teaching." + std::string(field) + " " + why);
  };
  if (teaching.teachers.empty()) {
    for (const char* field : {"relation_weight", "on_policy_share"}) {
      refuse(field, "needs teaching.teachers, models that this daemon serves");
    }
  }
  if (teaching.relation_weight == 0) {
    for (const char* field : kRelation) refuse(field, "needs teaching.relation_weight above 0");
  } else if (teaching.teachers.size() > 1) {
    refuse("relation_weight", "compares with one teacher; name one in teaching.teachers");
  }
  if (teaching.on_policy_share == 0) {
    refuse("on_policy_temperature", "needs teaching.on_policy_share above 0");
  }
}

}  // namespace

void read_teaching(Fields& fields, TeachingSpec& teaching) {
  fields.objects("teachers", 8, [&](Fields& inner) {
    TeacherSource source;
    read_name(inner, "model", source.model);
    inner.require("model");
    inner.real("weight", 1e-6, 1e6, source.weight);
    teaching.teachers.push_back(std::move(source));
  });
  fields.real("relation_weight", 0, 1e3, teaching.relation_weight);
  for (auto [field, target] : {std::pair{"relation_layer", &teaching.relation_layer},
                               {"relation_teacher_layer", &teaching.relation_teacher_layer}}) {
    if (fields.has(field)) fields.whole(field, 0, 511, target->emplace());
  }
  fields.whole("relation_heads", 1, 1024, teaching.relation_heads);
  fields.real("on_policy_share", 0, 1, teaching.on_policy_share);
  fields.real("on_policy_temperature", 0.01, 10, teaching.on_policy_temperature);
  if (!fields.failed()) check_teaching(fields, teaching);
}

nlohmann::json teaching_json(const TeachingSpec& teaching) {
  nlohmann::json out = nlohmann::json::object();
  if (teaching.teachers.empty()) return out;
  out["teachers"] = nlohmann::json::array();
  for (const TeacherSource& source : teaching.teachers) {
    out["teachers"].push_back({{"model", source.model}, {"weight", source.weight}});
  }
  if (teaching.relation_weight > 0) {
    out["relation_weight"] = teaching.relation_weight;
    out["relation_heads"] = teaching.relation_heads;
    if (teaching.relation_layer) out["relation_layer"] = *teaching.relation_layer;
    if (teaching.relation_teacher_layer) {
      out["relation_teacher_layer"] = *teaching.relation_teacher_layer;
    }
  }
  if (teaching.on_policy_share > 0) {
    out["on_policy_share"] = teaching.on_policy_share;
    out["on_policy_temperature"] = teaching.on_policy_temperature;
  }
  return out;
}

}  // namespace tristill::job
