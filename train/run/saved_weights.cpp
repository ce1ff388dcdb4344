#include "train/run/saved_weights.h"

namespace tristill::train {
namespace {

using torch::Tensor;

constexpr const char* kWeights = "weights.";
constexpr const char* kBase = "lora.base.";
constexpr const char* kFactors = "lora.";

Result<void> copy_from(const Checkpoint& checkpoint, const std::string& saved_name,
                       const NamedParameter& parameter) {
  const torch::NoGradGuard no_grad;
  const auto found = checkpoint.tensors.find(saved_name);
  if (found == checkpoint.tensors.end() || found->second.sizes() != parameter.tensor.sizes()) {
    return Error{ErrorCode::corrupt,
                 "checkpoint lacks " + parameter.name + " in the shape of this model",
                 "checkpoint"};
  }
  Tensor(parameter.tensor).copy_(found->second);
  return {};
}

}  // namespace

void save_weights(const Student& student, Checkpoint& checkpoint) {
  const auto put = [&](const std::string& name, const Tensor& tensor) {
    checkpoint.tensors[name] = tensor.detach().cpu();
  };
  const std::vector<NamedParameter> model = student.model_tensors();
  for (const NamedParameter& tensor : model) put(kWeights + tensor.name, tensor.tensor);
  if (!student.is_adapted()) return;
  for (size_t i = 0; i < model.size(); ++i) {
    const NamedParameter& kept = student.base()[i];
    if (!kept.tensor.is_same(model[i].tensor)) put(kBase + kept.name, kept.tensor);
  }
  for (const NamedParameter& factor : student.parameters()) {
    put(kFactors + factor.name, factor.tensor);
  }
}

Result<void> load_weights(Student& student, const Checkpoint& checkpoint) {
  const char* own = student.is_adapted() ? kFactors : kWeights;
  for (const NamedParameter& parameter : student.parameters()) {
    if (auto ok = copy_from(checkpoint, own + parameter.name, parameter); !ok) return ok;
  }
  for (const NamedParameter& kept : student.base()) {
    const bool adapted = checkpoint.tensors.contains(kBase + kept.name);
    const std::string name = (adapted ? kBase : kWeights) + kept.name;
    if (auto ok = copy_from(checkpoint, name, kept); !ok) return ok;
  }
  return {};
}

Result<void> load_first_weights(Student& student, const Checkpoint& checkpoint) {
  bool lacks_scales = false;
  for (const NamedParameter& tensor :
       student.is_adapted() ? student.base() : student.parameters()) {
    if (tensor.is_scale && !checkpoint.tensors.contains(kWeights + tensor.name)) {
      lacks_scales = true;
      continue;
    }
    if (auto ok = copy_from(checkpoint, kWeights + tensor.name, tensor); !ok) return ok;
  }
  if (lacks_scales) student.restart_scales();
  return {};
}

}  // namespace tristill::train
