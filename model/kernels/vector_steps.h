// Steps of panels as the linear layers multiply them. Included by an ISA file after its lanes_*.h.
#pragma once

#include "model/kernels/kernels.h"
#include "model/kernels/vector_unpack.h"

namespace tristill::kernels {
namespace {

constexpr size_t kPrefetchBytes = 2048;  // ahead, when tokens are few and memory is the limit

// Exact sums of kTileHalves halves of a panel and kTokens tokens.
template <int kTokens>
struct Sums {
  I32 of[kTileHalves][kTokens];
};

// One half of a step, of every kind: n planes of 64 unsigned bytes, plane k the weights k of every
// byte, kOffset too great. Where kInPlace, plane k also comes kFactor<k> times too great for less.
struct TernaryStep {
  static constexpr int kPlanes = 4;
  static constexpr int32_t kOffset = 1;
  static constexpr size_t kMostPerStep = 4 * 2 * 3 * 127;  // of two bytes a lane
  static constexpr bool kInPlace = true;
  Bytes packed;
  explicit TernaryStep(const uint8_t* w) : packed(load_bytes(w)) {}
  template <int k>
  Bytes plane() const {
    return field<k>(packed);
  }
  template <int k>
  Bytes plane_in_place() const {
    return field_in_place<k>(packed);
  }
  template <int k>
  static I32 unscaled(I32 sums) {
    return shift_right<2 * k>(sums);
  }
};

struct DenseStep {
  static constexpr int kPlanes = 5;
  static constexpr int32_t kOffset = 1;
  static constexpr size_t kMostPerStep = 5 * 2 * 2 * 127;
  static constexpr bool kInPlace = true;
  Bytes fields;  // weights 0 .. 3, two bits each
  Bytes top;     // 81 times weight 4
  explicit DenseStep(const uint8_t* w) {
    const Bytes packed = load_bytes(w);
    const Bytes rest = remainder<81>(packed);
    top = sub_bytes(packed, rest);
    fields = trits(rest);
  }
  template <int k>
  Bytes plane() const {
    if constexpr (k < 4) return field<k>(fields);
    return trit<81>(top);
  }
  template <int k>
  Bytes plane_in_place() const {
    if constexpr (k < 4) return field_in_place<k>(fields);
    return top;
  }
  template <int k>
  static I32 unscaled(I32 sums) {
    if constexpr (k < 4) return shift_right<2 * k>(sums);
    return mul(sums, splat_int(static_cast<int32_t>(kInverseOf81)));
  }
  // 81 times this is 1 modulo 2^32: the division is exact.
  static constexpr uint32_t kInverseOf81 = [] {
    uint32_t x = 81;
    for (int i = 0; i < 5; ++i) x *= 2 - 81 * x;
    return x;
  }();
};

// Three slices of int8 weights, put together again: planes as dot_int8 takes them.
struct SlicedStep {
  static constexpr int kPlanes = 4;
  Bytes high[2], middle, low;
  SlicedStep(const uint8_t* h, const uint8_t* m, const uint8_t* l)
      : high{load_bytes(h), load_bytes(h + kStepBytes)},
        middle(load_bytes(m)),
        low(load_bytes(l)) {}
  template <int k>
  Bytes plane() const {
    const Bytes nibble = k % 2 == 0 ? shift_bytes_left<4>(high[k / 2]) : high[k / 2];
    Bytes pair = middle;
    if constexpr (k == 0) pair = shift_bytes_left<2>(middle);
    if constexpr (k > 1) pair = shift_bytes_right<2 * k - 2>(middle);
    const Bytes upper =
        or_bytes(and_bytes(nibble, splat_byte(0xF0)), and_bytes(pair, splat_byte(0x0C)));
    return int8_side_of_code(or_bytes(upper, field<k>(low)));
  }
};

struct Int4Step {
  static constexpr int kPlanes = 2;
  static constexpr int32_t kOffset = 8;
  static constexpr size_t kMostPerStep = 2 * 15 * 2 * 127;
  static constexpr bool kInPlace = false;
  Bytes packed;
  explicit Int4Step(const uint8_t* w) : packed(load_bytes(w)) {}
  template <int k>
  Bytes plane() const {
    return nibble<k>(packed);
  }
};

}  // namespace
}  // namespace tristill::kernels
