// RopeTable: cosines and sines of every (position, pair), computed once in double precision.
// Rotary position embedding, Su et al. 2021, eq. 34, in the NEOX form: pairs (i, i + head_dim / 2).
// Immutable: any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace tristill {

class RopeTable {
 public:
  RopeTable(float theta, uint32_t head_dim, uint32_t n_positions);

  // Rotates one head, x [head_dim], as at position.
  void rotate(float* x, uint32_t position) const;

 private:
  size_t half_;
  std::vector<float> cosine_;  // [n_positions, half]
  std::vector<float> sine_;
};

}  // namespace tristill
