// A tensor of floating-point numbers in somebody else's file. A view: valid while its bytes are.
// Any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace tristill::convert {

enum class FloatType {
  f32,
  f16,
  bf16,
  i2s,  // ternary, four a byte, the first in the highest bits: code - 1, times the tensor's scale
};
// Of one number, where it has bytes of its own.
constexpr uint64_t bytes_of(FloatType type) { return type == FloatType::f32 ? 4 : 2; }

// Of a shape whose numbers have so many bytes each, or how many numbers; nothing beyond 64 bits.
std::optional<uint64_t> size_of_shape(const std::vector<uint64_t>& dims, uint64_t each = 1);

struct FloatTensor {
  FloatType type = FloatType::f32;
  std::vector<uint64_t> dims;  // outermost first: a matrix is [out, in]
  std::span<const std::byte> bytes;  // as many as dims and type say
  float scale = 1;  // of i2s

  // In fp32, exactly. Code 3 of i2s, which stands for nothing, is 0.
  std::vector<float> values() const;
};

using FloatTensors = std::map<std::string, FloatTensor, std::less<>>;

}  // namespace tristill::convert
