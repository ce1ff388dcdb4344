#include "bench/limits.h"

#include <algorithm>
#include <chrono>
#include <numeric>
#include <vector>

#include "model/huge_pages.h"
#include "model/kernels/kernels.h"
#include "model/threads.h"

namespace tristill::bench {
namespace {

constexpr int kRepetitions = 5;
constexpr size_t kReadBytes = size_t{256} << 20;  // at least, in a repetition

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
  constexpr size_t kCols = 800, kPanels = 2, kTimes = 4000;
  const auto& kernel = kernels::best();
  const size_t tokens = kernel.tile_tokens;
  const std::vector<uint8_t> panels(
      kPanels * kernels::panel_bytes(kernels::PanelKind::ternary, kCols), 0x64);
  const std::vector<int8_t> q(tokens * kCols, 3);
  const std::vector<float> scale(tokens, 1.0F);
  const std::vector<int32_t> sum(tokens, 3 * static_cast<int32_t>(kCols));
  const size_t ld = kPanels * kernels::kPanelRows;
  std::vector<std::vector<int32_t>> sums(n_threads, std::vector<int32_t>(tokens * ld));
  ThreadTeam team(n_threads);
  const double seconds = shortest([&] {
    team.run(n_threads, [&](uint32_t part, uint32_t) {
      for (size_t i = 0; i < kTimes; ++i) {
        kernel.linear({.x = {q.data(), scale.data(), sum.data(), tokens},
                       .kind = kernels::PanelKind::ternary,
                       .panels = panels.data(),
                       .cols = kCols,
                       .panel_begin = 0,
                       .panel_end = kPanels,
                       .scale = nullptr,
                       .finish = kernels::Finish::sums,
                       .out = sums[part].data(),
                       .ld_out = ld});
      }
    });
  });
  return 2.0 * static_cast<double>(tokens * ld * kCols * kTimes) * n_threads / seconds;
}

double measure_read_bandwidth(uint32_t n_threads, size_t bytes) {
  const HugePages memory(bytes);
  const size_t n = bytes / sizeof(float);
  auto* data = reinterpret_cast<float*>(memory.data());
  std::fill_n(data, n, 1.0F);
  const size_t times = std::max<size_t>(1, kReadBytes / bytes);
  std::vector<float> sums(n_threads);
  ThreadTeam team(n_threads);
  const double seconds = shortest([&] {
    for (size_t i = 0; i < times; ++i) {
      team.run(n_threads, [&](uint32_t part, uint32_t) {
        // Halves of the part multiply each other: every byte is read once.
        const Share share = share_of(n / 2, 16, part, n_threads);
        sums[part] = kernels::best().dot(data + share.begin, data + n / 2 + share.begin,
                                         share.end - share.begin);
      });
    }
  });
  // Read, so that the loads cannot be dropped.
  const float total = std::accumulate(sums.begin(), sums.end(), 0.0F);
  return total > 0.0F ? static_cast<double>(n * sizeof(float) * times) / seconds : 0.0;
}

}  // namespace tristill::bench
