#include "train/teach/teachers.h"

#include "model/format/model_file.h"

namespace tristill::train {
namespace {

constexpr const char* kTeachers = "teaching.teachers";

Error bad(const char* param, std::string message) {
  return {ErrorCode::invalid_argument, std::move(message), param};
}

Result<void> check_teacher(const std::string& name, const LoadedModelFile& file,
                           const job::TrainSpec& spec, const Tokenizer& tokenizer) {
  if (file.tokenizer->fingerprint() != tokenizer.fingerprint() ||
      file.tensors.config.vocab_size != spec.model.vocab_size) {
    return bad(kTeachers,
               "teacher " + name +
                   " has another tokenizer than the student; set tokenizer.from_model to "
                   "the teacher's name");
  }
  if (file.tensors.config.max_context < spec.sequence_length) {
    return bad(kTeachers, "teacher " + name + " sees " +
                              std::to_string(file.tensors.config.max_context) +
                              " tokens and sequence_length is " +
                              std::to_string(spec.sequence_length) + "; lower sequence_length");
  }
  return {};
}

uint32_t three_quarters_up(const ModelConfig& config) { return config.n_layers * 3 / 4; }

Result<void> check_heads(uint32_t heads, const ModelConfig& config, const char* whose) {
  if (config.q_dim() % heads == 0 && config.kv_dim() % heads == 0) return {};
  return bad("teaching.relation_heads", "teaching.relation_heads is " + std::to_string(heads) +
                                            ", which does not divide the " + whose + "'s widths " +
                                            std::to_string(config.q_dim()) + " and " +
                                            std::to_string(config.kv_dim()));
}

Result<void> check_layer(const char* field, uint32_t layer, const ModelConfig& config) {
  if (layer < config.n_layers) return {};
  return bad(field, std::string(field) + " is " + std::to_string(layer) +
                        "; the model has layers 0 to " + std::to_string(config.n_layers - 1));
}

}  // namespace

Result<Teachers> Teachers::open(const std::vector<std::string>& files, const job::TrainSpec& spec,
                                const Tokenizer& tokenizer, torch::Device device) {
  Teachers teachers;
  for (size_t i = 0; i < files.size(); ++i) {
    const job::TeacherSource& source = spec.teaching.teachers[i];
    const auto file = read_model_file(files[i]);
    if (!file) return Error{file.error().code, file.error().message, kTeachers};
    if (auto fits = check_teacher(source.model, *file, spec, tokenizer); !fits) {
      return fits.error();
    }
    teachers.asked_.push_back({Student::frozen(file->tensors, device), source.weight});
  }
  if (auto chosen = teachers.choose_relation(spec); !chosen) return chosen.error();
  return teachers;
}

Result<void> Teachers::choose_relation(const job::TrainSpec& spec) {
  const job::TeachingSpec& teaching = spec.teaching;
  if (teaching.relation_weight == 0 || asked_.empty()) return {};
  Student& teacher = asked_[0].model;
  const uint32_t own = teaching.relation_layer.value_or(three_quarters_up(spec.model));
  const uint32_t theirs =
      teaching.relation_teacher_layer.value_or(three_quarters_up(teacher.config()));
  for (auto ok : {check_layer("teaching.relation_layer", own, spec.model),
                  check_layer("teaching.relation_teacher_layer", theirs, teacher.config()),
                  check_heads(teaching.relation_heads, spec.model, "student"),
                  check_heads(teaching.relation_heads, teacher.config(), "teacher")}) {
    if (!ok) return ok;
  }
  student_layer_ = own;
  teacher.record_states(theirs);
  return {};
}

void Teachers::teach(Batch& batch) {
  const torch::NoGradGuard no_grad;
  batch.dense.teachers.clear();
  for (Asked& asked : asked_) {
    batch.dense.teachers.push_back({asked.model.hidden(batch.tokens, batch.segment_start),
                                    &asked.model.head(), asked.model.config().logit_softcap,
                                    asked.weight});
  }
  if (student_layer_ >= 0) batch.relation = asked_[0].model.states();
}

}  // namespace tristill::train
