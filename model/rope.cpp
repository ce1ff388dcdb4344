#include "model/rope.h"

#include "model/kernels/kernels.h"
#include "model/portable_math.h"

namespace tristill {

RopeTable::RopeTable(float theta, uint32_t head_dim) : half_(head_dim / 2), frequency_(half_) {
  const double log_theta = portable_log(static_cast<double>(theta));
  for (size_t i = 0; i < half_; ++i) {
    const double exponent = static_cast<double>(2 * i) / static_cast<double>(head_dim);
    frequency_[i] = portable_exp(-exponent * log_theta);
  }
}

void RopeTable::extend(uint32_t n_positions) {
  if (n_positions <= n_positions_) return;
  n_positions = (n_positions + 63) / 64 * 64;  // not for every token anew
  cosine_.resize(half_ * n_positions);
  sine_.resize(half_ * n_positions);
  for (size_t p = n_positions_; p < n_positions; ++p) {
    for (size_t i = 0; i < half_; ++i) {
      const auto angle = portable_sin_cos(static_cast<double>(p) * frequency_[i]);
      cosine_[p * half_ + i] = static_cast<float>(angle.cosine);
      sine_[p * half_ + i] = static_cast<float>(angle.sine);
    }
  }
  n_positions_ = n_positions;
}

void RopeTable::rotate(float* x, uint32_t position) const {
  const size_t at = position * half_;
  kernels::best().rotate_half(x, cosine_.data() + at, sine_.data() + at, half_);
}

}  // namespace tristill
