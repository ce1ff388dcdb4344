#include "train/optim/random_draws.h"

#include <ATen/CPUGeneratorImpl.h>

#include <cmath>

#include "base/random.h"

namespace tristill::train {
namespace {

// The generator takes 32 bits of a seed.
at::Generator generator_of(uint64_t seed) {
  return at::detail::createCPUGenerator(philox(seed, 0, 0)[0]);
}

}  // namespace

torch::Tensor random_signs(const torch::Tensor& like, uint64_t seed) {
  const torch::Tensor bits = at::randint(2, like.sizes(), generator_of(seed), at::device(at::kCPU));
  return (2.0 * bits - 1.0).to(like.options());
}

torch::Tensor sign_or_random(const torch::Tensor& x, uint64_t seed) {
  const torch::Tensor signs = x.sign();
  const torch::Tensor none = signs.eq(0);
  if (!none.any().item<bool>()) return signs;
  return at::where(none, random_signs(x, seed), signs);
}

torch::Tensor random_uniforms(const torch::Tensor& like, uint64_t seed) {
  const torch::Tensor drawn = at::rand(like.sizes(), generator_of(seed), at::device(at::kCPU));
  return drawn.sub_(0.5).mul_(std::sqrt(12.0)).to(like.options());
}

torch::Tensor random_normals(const torch::Tensor& like, uint64_t seed) {
  return at::randn(like.sizes(), generator_of(seed), at::device(at::kCPU)).to(like.options());
}

}  // namespace tristill::train
