// Where the parts of all ranks lie in one flat buffer, so that halves of the ranks trade contiguous
// halves of it: recursive halving going in, recursive doubling going out. Ranks stand in the order
// of their bit-reversed numbers: those that agree in their lowest bits are neighbours. Pure.
//   level l: rank r trades with rank r ^ 2^l; it has the parts of all ranks that agree with it in
//   the lowest l bits, and goes on with those that agree in l + 1.
// Summing on the way in adds neighbours first, ((r0 + r1) + (r2 + r3)), which is the tree of
// train/run/gradient_tree.h.                  Thakur, Rabenseifner & Gropp 2005, sections 4.2, 4.5
#pragma once

#include <cstdint>
#include <vector>

namespace tristill::train {

class ShardLayout {
 public:
  struct Range {
    int64_t begin = 0, end = 0;
    int64_t size() const { return end - begin; }
  };

  // sizes and owners, one an item; ranks is a power of two. Items begin at multiples of 64.
  ShardLayout(const std::vector<int64_t>& sizes, const std::vector<int>& owners, int ranks);

  int64_t total() const { return starts_.back(); }
  int64_t offset(size_t item) const { return offsets_[item]; }
  int levels() const { return levels_; }
  // The parts of all ranks that agree with this one in the lowest `level` bits.
  Range part(int rank, int level) const;

 private:
  int place_of(int rank) const;

  int levels_ = 0;
  std::vector<int64_t> starts_;  // [ranks + 1], by place
  std::vector<int64_t> offsets_;  // [items]
};

// What a step of the optimiser takes, to share out by: AdamW reads and writes an element, and Muon
// multiplies it with as many others as its matrix's shorter side has, several times.
//   shorter_side  of a matrix that Muon steps, else 0
int64_t step_cost(int64_t elements, int64_t shorter_side);

// The owner of each item: the largest first, each to the rank that has least so far. Equal ones go
// by number, so that all ranks agree.
std::vector<int> share_out(const std::vector<int64_t>& sizes, int ranks);

}  // namespace tristill::train
