#include "train/optim/double_well.h"

namespace tristill::train {

void pull_to_wells(torch::Tensor& weight, const WellForce& force) {
  const torch::Tensor size = weight.abs();
  const torch::Tensor well =
      force.absolute ? at::full({}, force.target, weight.options()) : size.mean() * force.target;
  weight.sub_((size - well) * weight.sign(), force.share);
}

}  // namespace tristill::train
