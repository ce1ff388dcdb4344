// Sums the gradients and losses of micro-batches as a binary tree, as they come:
//   ((g0 + g1) + (g2 + g3)) + ((g4 + g5) + (g6 + g7))
// Every aligned run of 2^k micro-batches is a branch with a sum of its own, so the bits of the
// whole do not depend on which process adds up which branch (train/distributed/shard_exchange.h).
// Holds at most log2(n) + 1 sums at once. Trainer's thread only.
#pragma once

#include <torch/types.h>

#include <vector>

#include "train/loss/token_loss.h"

namespace tristill::train {

struct Gradients {
  std::vector<torch::Tensor> tensors;  // one a parameter, fp32
  LossSums sums;

  Gradients& operator+=(const Gradients& right);
};

class GradientTree {
 public:
  // The next micro-batch's.
  void add(Gradients leaf);
  // After 2^k leaves, which it CHECKs.
  Gradients take();

 private:
  struct Branch {
    Gradients sum;
    int64_t leaves = 1;
  };
  std::vector<Branch> branches_;  // each with fewer leaves than the one before
};

}  // namespace tristill::train
