// Bytes that hold several weights -> bytes that hold one. Included by an ISA file after its
// lanes_*.h, which may bring a faster trits (kTritsByTable).
#pragma once

#include "model/kernels/kernels.h"

namespace tristill::kernels {
namespace {

// Bits 2k, 2k + 1 of every byte.
template <int k>
inline Bytes field(Bytes packed) {
  if constexpr (k == 0) return and_bytes(packed, splat_byte(3));
  return and_bytes(shift_bytes_right<2 * k>(packed), splat_byte(3));
}
// The same, times 4^k.
template <int k>
inline Bytes field_in_place(Bytes packed) {
  return and_bytes(packed, splat_byte(3 << (2 * k)));
}

// Bits 4k .. 4k + 3 of every byte.
template <int k>
inline Bytes nibble(Bytes packed) {
  if constexpr (k == 0) return and_bytes(packed, splat_byte(15));
  return and_bytes(shift_bytes_right<4>(packed), splat_byte(15));
}

// v mod kPower for v < 3 kPower: what is below 0 wraps around to more than v.
template <int kPower>
inline Bytes remainder(Bytes v) {
  const Bytes less = min_bytes(v, sub_bytes(v, splat_byte(kPower)));
  return min_bytes(less, sub_bytes(v, splat_byte(2 * kPower)));
}

// 0, kPower, 2 kPower -> 0, 1, 2: kPower is odd, and only 2 kPower has the bit above its highest.
template <int kPower>
inline Bytes trit(Bytes v) {
  constexpr int kShift = kPower == 81 ? 6 : kPower == 27 ? 4 : kPower == 9 ? 3 : 1;
  return or_bytes(and_bytes(v, splat_byte(1)),
                  and_bytes(shift_bytes_right<kShift>(v), splat_byte(2)));
}

// t0 + 3 t1 + 9 t2 + 27 t3 -> t0 + 4 t1 + 16 t2 + 64 t3, in every byte.
inline Bytes trits(Bytes v) {
#if defined(__AVX512VBMI__)
  return trits_by_table(v);
#else
  const Bytes below27 = remainder<27>(v);
  const Bytes below9 = remainder<9>(below27);
  const Bytes below3 = remainder<3>(below9);
  const Bytes t3 = shift_bytes_left<6>(trit<27>(sub_bytes(v, below27)));
  const Bytes t2 = shift_bytes_left<4>(trit<9>(sub_bytes(below27, below9)));
  const Bytes t1 = shift_bytes_left<2>(trit<3>(sub_bytes(below9, below3)));
  return or_bytes(or_bytes(t3, t2), or_bytes(t1, below3));
#endif
}

}  // namespace
}  // namespace tristill::kernels
