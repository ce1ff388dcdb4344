#include "train/distributed/shard_layout.h"

#include <algorithm>
#include <bit>
#include <numeric>

#include "base/check.h"

namespace tristill::train {
namespace {

constexpr int64_t kAlign = 64;

int64_t aligned(int64_t size) { return (size + kAlign - 1) / kAlign * kAlign; }

}  // namespace

ShardLayout::ShardLayout(const std::vector<int64_t>& sizes, const std::vector<int>& owners,
                         int ranks)
    : levels_(std::countr_zero(static_cast<unsigned>(ranks))),
      starts_(static_cast<size_t>(ranks) + 1, 0),
      offsets_(sizes.size()) {
  CHECK(std::has_single_bit(static_cast<unsigned>(ranks)) && sizes.size() == owners.size());
  const auto place = [&](size_t item) { return static_cast<size_t>(place_of(owners[item])); };
  for (size_t i = 0; i < sizes.size(); ++i) starts_[place(i) + 1] += aligned(sizes[i]);
  std::partial_sum(starts_.begin(), starts_.end(), starts_.begin());
  std::vector<int64_t> next = starts_;
  for (size_t i = 0; i < sizes.size(); ++i) {
    offsets_[i] = next[place(i)];
    next[place(i)] += aligned(sizes[i]);
  }
}

int ShardLayout::place_of(int rank) const {
  int place = 0;
  for (int bit = 0; bit < levels_; ++bit) place |= (rank >> bit & 1) << (levels_ - 1 - bit);
  return place;
}

ShardLayout::Range ShardLayout::part(int rank, int level) const {
  const int width = 1 << (levels_ - level);
  const auto first = static_cast<size_t>(place_of(rank) / width * width);
  return {starts_[first], starts_[first + static_cast<size_t>(width)]};
}

int64_t step_cost(int64_t elements, int64_t shorter_side) {
  constexpr int64_t kProductsAnElement = 8;  // that take as long as AdamW's share of it
  return elements * (1 + shorter_side / kProductsAnElement);
}

std::vector<int> share_out(const std::vector<int64_t>& sizes, int ranks) {
  std::vector<size_t> by_size(sizes.size());
  std::iota(by_size.begin(), by_size.end(), size_t{0});
  std::ranges::stable_sort(by_size, [&](size_t a, size_t b) { return sizes[a] > sizes[b]; });
  std::vector<int64_t> load(static_cast<size_t>(ranks), 0);
  std::vector<int> owners(sizes.size(), 0);
  for (const size_t item : by_size) {
    const auto least = std::ranges::min_element(load);
    owners[item] = static_cast<int>(least - load.begin());
    *least += sizes[item];
  }
  return owners;
}

}  // namespace tristill::train
