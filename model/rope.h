// RopeTable: cosines and sines of (position, pair), computed once in double precision as far as
// positions have been asked for. Rotary position embedding, Su et al. 2021, eq. 34, in the NEOX
// form: pairs (i, i + head_dim / 2). One thread extends it; then any thread reads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace tristill {

class RopeTable {
 public:
  RopeTable(float theta, uint32_t head_dim);

  // Positions below n_positions can be rotated from now on.
  void extend(uint32_t n_positions);

  // Rotates one head, x [head_dim], as at position.
  void rotate(float* x, uint32_t position) const;

  // [n_positions, head_dim / 2]
  std::span<const float> cosine() const { return cosine_; }
  std::span<const float> sine() const { return sine_; }

 private:
  size_t half_;
  uint32_t n_positions_ = 0;
  std::vector<double> frequency_;  // [half]
  std::vector<float> cosine_;      // [n_positions, half]
  std::vector<float> sine_;
};

}  // namespace tristill
