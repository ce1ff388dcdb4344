#include "bench/limits.h"

#include <algorithm>
#include <chrono>
#include <numeric>
#include <vector>

#include "model/kernels/kernels.h"
#include "model/threads.h"

namespace tristill::bench {
namespace {

constexpr int kRepetitions = 5;

// The shortest of some runs, in seconds.
template <class Work>
double shortest(Work work) {
  double best = 1e9;
  for (int i = 0; i < kRepetitions; ++i) {
    const auto start = std::chrono::steady_clock::now();
    work();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    best = std::min(best, took.count());
  }
  return best;
}

}  // namespace

double measure_int8_ops(uint32_t n_threads) {
  constexpr size_t kTokens = 240, kRows = 256, kCols = 1024, kTimes = 40;
  const std::vector<int8_t> q(kTokens * kCols, 3), weights(kRows * kCols, -5);
  const std::vector<int32_t> row_sum(kRows, -5 * static_cast<int32_t>(kCols));
  std::vector<std::vector<int32_t>> sums(n_threads, std::vector<int32_t>(kTokens * kRows));
  const kernels::Int8View view{weights.data(), row_sum.data(), kRows, kCols};
  ThreadTeam team(n_threads);
  const double seconds = shortest([&] {
    team.run(n_threads, [&](uint32_t part, uint32_t) {
      for (size_t i = 0; i < kTimes; ++i) {
        kernels::best().int8_gemm(q.data(), kTokens, view, 0, kRows, sums[part].data(), kRows);
      }
    });
  });
  return 2.0 * kTokens * kRows * kCols * kTimes * n_threads / seconds;
}

double measure_read_bandwidth(uint32_t n_threads) {
  constexpr size_t kFloats = size_t{64} << 20;
  const std::vector<float> data(kFloats, 1.0F);
  std::vector<float> sums(n_threads);
  ThreadTeam team(n_threads);
  const double seconds = shortest([&] {
    team.run(n_threads, [&](uint32_t part, uint32_t) {
      // Halves of the part multiply each other: every byte is read once.
      const Share share = share_of(kFloats / 2, 16, part, n_threads);
      sums[part] =
          kernels::best().dot(data.data() + share.begin, data.data() + kFloats / 2 + share.begin,
                              share.end - share.begin);
    });
  });
  // Read, so that the loads cannot be dropped.
  const float total = std::accumulate(sums.begin(), sums.end(), 0.0F);
  return total > 0.0F ? static_cast<double>(kFloats * sizeof(float)) / seconds : 0.0;
}

}  // namespace tristill::bench
