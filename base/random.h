// Counter-based random numbers: value = f(seed, stream, counter), so any position can be drawn
// in any order on any thread with the same result. Philox4x32-10, Salmon et al. 2011.
// Not for secrets.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>

namespace tristill {

// Four 32-bit words for one (seed, stream, counter).
std::array<uint32_t, 4> philox(uint64_t seed, uint64_t stream, uint64_t counter);

// Uniform in [0, 1) with 53 random bits.
inline double philox_uniform(uint64_t seed, uint64_t stream, uint64_t counter) {
  const auto words = philox(seed, stream, counter);
  const uint64_t bits = (static_cast<uint64_t>(words[0]) << 32) | words[1];
  return static_cast<double>(bits >> 11) * 0x1p-53;
}

// A sequential view of one stream; its whole state is the counter, so it is saved as one number.
class RandomStream {
 public:
  RandomStream(uint64_t seed, uint64_t stream, uint64_t counter = 0)
      : seed_(seed), stream_(stream), counter_(counter) {}
  double uniform() { return philox_uniform(seed_, stream_, counter_++); }
  // Uniform in [0, n); n > 0. Bias below 2^-40 for n < 2^13, no matter for shuffling data.
  uint64_t below(uint64_t n) { return static_cast<uint64_t>(uniform() * static_cast<double>(n)); }
  uint64_t counter() const { return counter_; }

 private:
  uint64_t seed_;
  uint64_t stream_;
  uint64_t counter_;
};

}  // namespace tristill
