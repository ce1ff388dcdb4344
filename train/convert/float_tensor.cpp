#include "train/convert/float_tensor.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

namespace tristill::convert {
namespace {

float from_bf16(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16U); }

// IEEE 754 binary16: 1 sign bit, 5 of exponent (bias 15), 10 of fraction.
float from_f16(uint16_t bits) {
  constexpr int kBias = 15;
  const int exponent = (bits >> 10U) & 0x1F;
  const auto fraction = static_cast<float>(bits & 0x3FF);
  const float sign = (bits & 0x8000U) != 0 ? -1.0F : 1.0F;
  if (exponent == 0x1F) {
    const float special = fraction == 0 ? HUGE_VALF : std::nanf("");
    return sign * special;
  }
  if (exponent == 0) return sign * std::ldexp(fraction, 1 - kBias - 10);
  return sign * std::ldexp(fraction + 1024.0F, exponent - kBias - 10);
}

std::vector<float> unpacked(std::span<const std::byte> bytes, uint64_t n, float scale) {
  std::vector<float> out(n);
  for (uint64_t i = 0; i < n; ++i) {
    const auto code = std::to_integer<unsigned>(bytes[i / 4] >> (6 - 2 * (i % 4))) & 3U;
    out[i] = code == 3 ? 0 : (static_cast<float>(code) - 1) * scale;
  }
  return out;
}

}  // namespace

std::optional<uint64_t> size_of_shape(const std::vector<uint64_t>& dims, uint64_t each) {
  uint64_t size = each;
  for (const uint64_t dim : dims) {
    if (dim != 0 && size > std::numeric_limits<uint64_t>::max() / dim) return std::nullopt;
    size *= dim;
  }
  return size;
}

std::vector<float> FloatTensor::values() const {
  if (type == FloatType::i2s) return unpacked(bytes, *size_of_shape(dims), scale);
  const size_t n = bytes.size() / bytes_of(type);
  std::vector<float> out(n);
  if (type == FloatType::f32) {
    std::memcpy(out.data(), bytes.data(), n * sizeof(float));
    return out;
  }
  for (size_t i = 0; i < n; ++i) {
    uint16_t bits = 0;
    std::memcpy(&bits, bytes.data() + i * sizeof bits, sizeof bits);
    out[i] = type == FloatType::f16 ? from_f16(bits) : from_bf16(bits);
  }
  return out;
}

}  // namespace tristill::convert
