#include "train/data/near_duplicates.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <set>
#include <utility>

#include "base/check.h"

namespace tristill::train {
namespace {

constexpr size_t kRunTokens = 5;
constexpr double kSlack = 1e-9;  // of a threshold times a count

// The finaliser of SplitMix64, Steele et al. 2014: a bijection that mixes all bits.
uint64_t mixed(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
  return x ^ (x >> 31);
}

bool is_word(unsigned char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         c >= 0x80;
}

bool is_space(unsigned char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

std::vector<uint64_t> token_hashes(std::string_view text) {
  std::vector<uint64_t> hashes;
  hashes.reserve(text.size() / 3);
  for (size_t i = 0; i < text.size();) {
    const auto c = static_cast<unsigned char>(text[i]);
    uint64_t hash = 0xCBF29CE484222325ULL;  // FNV-1a over a word's bytes
    do {
      hash = (hash ^ static_cast<unsigned char>(text[i++])) * 0x100000001B3ULL;
    } while (is_word(c) && i < text.size() && is_word(static_cast<unsigned char>(text[i])));
    if (!is_space(c)) hashes.push_back(mixed(hash));
  }
  return hashes;
}

size_t shared(const std::vector<uint64_t>& a, const std::vector<uint64_t>& b) {
  size_t n = 0;
  for (size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    n += a[i] == b[j] ? 1 : 0;
    const bool both = a[i] == b[j];
    const bool left = a[i] < b[j];
    i += both || left ? 1 : 0;
    j += both || !left ? 1 : 0;
  }
  return n;
}

}  // namespace

std::vector<uint64_t> shingles(std::string_view text) {
  const auto tokens = token_hashes(text);
  std::vector<uint64_t> set;
  if (tokens.empty()) return set;
  const size_t length = std::min(kRunTokens, tokens.size());
  set.reserve(tokens.size());
  for (size_t i = 0; i + length <= tokens.size(); ++i) {
    uint64_t hash = length;
    for (size_t j = 0; j < length; ++j) hash = mixed(hash * 0x9E3779B97F4A7C15ULL + tokens[i + j]);
    set.push_back(hash);
  }
  std::ranges::sort(set);
  set.erase(std::unique(set.begin(), set.end()), set.end());
  return set;
}

size_t NearDuplicates::least_shared(size_t n) const {
  const double least = std::ceil(threshold_ * static_cast<double>(n) - kSlack);
  return std::max<size_t>(1, static_cast<size_t>(least));
}

NearDuplicates::NearDuplicates(std::span<const std::string_view> held_out, double threshold)
    : threshold_(threshold) {
  CHECK(threshold > 0 && threshold <= 1);
  for (const std::string_view text : held_out) {
    sets_.push_back(shingles(text));
    for (const uint64_t run : sets_.back()) ++runs_[run].documents;
  }
  for (size_t d = 0; d < sets_.size(); ++d) {
    if (sets_[d].empty()) continue;
    std::vector<std::pair<uint32_t, uint64_t>> rarest;
    for (const uint64_t run : sets_[d]) rarest.emplace_back(runs_[run].documents, run);
    const auto n_prefix = static_cast<ptrdiff_t>(rarest.size() - least_shared(rarest.size()) + 1);
    std::partial_sort(rarest.begin(), rarest.begin() + n_prefix, rarest.end());
    for (auto it = rarest.begin(); it != rarest.begin() + n_prefix; ++it) {
      runs_[it->second].prefix_of.push_back(static_cast<uint32_t>(d));
    }
  }
}

std::optional<size_t> NearDuplicates::find(std::string_view text) const {
  const auto set = shingles(text);
  if (set.empty()) return std::nullopt;
  std::vector<std::pair<uint32_t, uint64_t>> known;  // how many held-out documents have it, which
  for (const uint64_t run : set) {
    if (const auto found = runs_.find(run); found != runs_.end()) {
      known.emplace_back(found->second.documents, run);
    }
  }
  const size_t least = least_shared(set.size());
  if (known.size() < least) return std::nullopt;
  // Runs that no held-out document has are the rarest: they fill the prefix first.
  const auto n_prefix = static_cast<ptrdiff_t>(known.size() - least + 1);
  std::partial_sort(known.begin(), known.begin() + n_prefix, known.end());
  std::set<uint32_t> candidates;
  for (auto it = known.begin(); it != known.begin() + n_prefix; ++it) {
    const auto& documents = runs_.at(it->second).prefix_of;
    candidates.insert(documents.begin(), documents.end());
  }
  for (const uint32_t document : candidates) {
    const auto n_shared = static_cast<double>(shared(set, sets_[document]));
    const auto n_all = static_cast<double>(set.size() + sets_[document].size()) - n_shared;
    if (n_shared >= threshold_ * n_all - kSlack) return document;
  }
  return std::nullopt;
}

}  // namespace tristill::train
