#include "train/optim/random_signs.h"

#include <ATen/CPUGeneratorImpl.h>

#include "base/random.h"

namespace tristill::train {

torch::Tensor random_signs(const torch::Tensor& like, uint64_t seed) {
  // The generator takes 32 bits of a seed.
  const auto mixed = philox(seed, 0, 0);
  const at::Generator generator = at::detail::createCPUGenerator(mixed[0]);
  const torch::Tensor bits = at::randint(2, like.sizes(), generator, at::device(at::kCPU));
  return (2.0 * bits - 1.0).to(like.options());
}

torch::Tensor sign_or_random(const torch::Tensor& x, uint64_t seed) {
  const torch::Tensor signs = x.sign();
  const torch::Tensor none = signs.eq(0);
  if (!none.any().item<bool>()) return signs;
  return at::where(none, random_signs(x, seed), signs);
}

}  // namespace tristill::train
