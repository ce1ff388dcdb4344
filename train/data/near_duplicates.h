// Near duplicates of held-out documents: a training file that nearly repeats one would let a model
// be praised for what it remembers.
//
//   r(A, B) = |S(A) & S(B)| / |S(A) | S(B)|              resemblance, Broder 1997, section 2
// S(D): the set of D's runs of 5 tokens; a token is a word of letters, digits and underscores, or
// any other character alone; white space is none. A shorter text has one run, the whole of it.
//
// Resemblance and not containment: a licence header alone in a held-out file is contained in every
// file that begins with it.
//
// Exact, not sketched: with S(D) in one order, rarest among the held-out first, two sets of
// r >= t share one of the first |S| - ceil(t |S|) + 1 of each (Bayardo, Ma, Srikant 2007, section
// 3), so only those are indexed and only what shares one is compared. A text of which fewer than
// t |S| runs occur in any held-out document is passed at once, and that is nearly every text.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace tristill::train {

// S(D) as sorted distinct 64-bit hashes. Pure.
std::vector<uint64_t> shingles(std::string_view text);

class NearDuplicates {
 public:
  // threshold in (0, 1].
  NearDuplicates(std::span<const std::string_view> held_out, double threshold);

  // The first held-out document that the text resembles by threshold or more. Any thread.
  std::optional<size_t> find(std::string_view text) const;

 private:
  struct Run {
    uint32_t documents = 0;  // held-out ones that have it
    std::vector<uint32_t> prefix_of;  // those that have it among their rarest
  };
  size_t least_shared(size_t n) const;

  double threshold_;
  std::vector<std::vector<uint64_t>> sets_;  // of the held-out documents
  std::unordered_map<uint64_t, Run> runs_;
};

}  // namespace tristill::train
