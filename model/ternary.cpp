#include "model/ternary.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "base/check.h"

namespace tristill {
namespace {

constexpr size_t kHalf = 128;     // weights of half a block
constexpr size_t kHalfBytes = 32;  // bytes that hold them

}  // namespace

float ternarize(std::span<const float> weights, std::span<int8_t> ternary) {
  CHECK(weights.size() == ternary.size());
  double sum = 0.0;
  for (const float w : weights) sum += std::fabs(static_cast<double>(w));
  if (!std::isfinite(sum)) throw std::domain_error("ternarize: a weight is not finite");
  const float gamma =
      weights.empty() ? 0.0F : static_cast<float>(sum / static_cast<double>(weights.size()));
  for (size_t i = 0; i < weights.size(); ++i) {
    // w / gamma rounds to 0 up to a half inclusive: half goes to even.
    const float ratio = gamma > 0.0F ? weights[i] / gamma : 0.0F;
    ternary[i] = static_cast<int8_t>(ratio > 0.5F) - static_cast<int8_t>(ratio < -0.5F);
  }
  return gamma;
}

void quantize_rows_int8(const float* w, size_t rows, size_t cols, int8_t* q, float* scale) {
  for (size_t r = 0; r < rows; ++r) {
    const float* row = w + r * cols;
    float absmax = 0.0F;
    for (size_t c = 0; c < cols; ++c) {
      if (!std::isfinite(row[c]))
        throw std::domain_error("quantize_rows_int8: a weight is not finite");
      absmax = std::max(absmax, std::fabs(row[c]));
    }
    const float inverse = 127.0F / absmax;
    const bool zero = !std::isfinite(inverse);
    scale[r] = zero ? 0.0F : absmax / 127.0F;
    for (size_t c = 0; c < cols; ++c) {
      const float rounded = zero ? 0.0F : std::nearbyint(row[c] * inverse);
      q[r * cols + c] = static_cast<int8_t>(std::clamp(rounded, -127.0F, 127.0F));
    }
  }
}

void pack_ternary(const int8_t* ternary, size_t rows, size_t cols, uint8_t* packed) {
  const size_t halves = ternary_blocks_of(cols) * 2;
  for (size_t r = 0; r < rows; ++r, ternary += cols) {
    for (size_t h = 0; h < halves; ++h) {
      for (size_t j = 0; j < kHalfBytes; ++j) {
        unsigned byte = 0;
        for (unsigned part = 0; part < 4; ++part) {
          const size_t c = h * kHalf + part * kHalfBytes + j;
          const int value = c < cols ? ternary[c] : 0;
          byte |= (static_cast<unsigned>(value + 1) & 3U) << (2 * part);
        }
        *packed++ = static_cast<uint8_t>(byte);
      }
    }
  }
}

bool unpack_ternary(const uint8_t* packed, size_t rows, size_t cols, int8_t* ternary) {
  const size_t halves = ternary_blocks_of(cols) * 2;
  bool valid = true;
  for (size_t r = 0; r < rows; ++r, ternary += cols) {
    for (size_t h = 0; h < halves; ++h) {
      for (size_t j = 0; j < kHalfBytes; ++j) {
        const unsigned byte = *packed++;
        for (unsigned part = 0; part < 4; ++part) {
          const size_t c = h * kHalf + part * kHalfBytes + j;
          const int code = static_cast<int>((byte >> (2 * part)) & 3U) - 1;
          valid &= code != 2 && (c < cols || code == 0);
          if (c < cols) ternary[c] = static_cast<int8_t>(code);
        }
      }
    }
  }
  return valid;
}

}  // namespace tristill
