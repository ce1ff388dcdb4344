#include "model/rope.h"

#include "model/kernels/kernels.h"
#include "model/portable_math.h"

namespace tristill {

RopeTable::RopeTable(float theta, uint32_t head_dim, uint32_t n_positions)
    : half_(head_dim / 2), cosine_(half_ * n_positions), sine_(half_ * n_positions) {
  const double log_theta = portable_log(static_cast<double>(theta));
  for (size_t i = 0; i < half_; ++i) {
    const double exponent = static_cast<double>(2 * i) / static_cast<double>(head_dim);
    const double frequency = portable_exp(-exponent * log_theta);
    for (size_t p = 0; p < n_positions; ++p) {
      const auto angle = portable_sin_cos(static_cast<double>(p) * frequency);
      cosine_[p * half_ + i] = static_cast<float>(angle.cosine);
      sine_[p * half_ + i] = static_cast<float>(angle.sine);
    }
  }
}

void RopeTable::rotate(float* x, uint32_t position) const {
  const size_t at = position * half_;
  kernels::best().rotate_half(x, cosine_.data() + at, sine_.data() + at, half_);
}

}  // namespace tristill
