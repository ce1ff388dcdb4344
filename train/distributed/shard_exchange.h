// ShardExchange: what goes between ranks around an optimiser step whose state is shared out
// (ZeRO stage 1, Rajbhandari et al. 2020). Each parameter has an owner, which alone keeps its
// optimiser's state and steps it.
//   reduce    gradients to their owners, summed along the tree of train/run/gradient_tree.h
//   spread    stepped weights to all: ternary matrices at 2 bits a weight with their scale and
//             bias, int8 tables as they are; matrices of learned scales and all else in fp32
//   gather    fp32 latents to rank 0, which alone needs them, to look at and to save
// Other ranks' latents of ternary and int8 weights grow old: forward and backward pass use the
// quantised values only. Every call is made by all ranks in one order; RankLost ends the run.
// Trainer's thread only. Alone, nothing is copied.
#pragma once

#include <torch/types.h>

#include <vector>

#include "train/distributed/rank_group.h"
#include "train/distributed/shard_layout.h"
#include "train/run/gradient_tree.h"
#include "train/student/student.h"

namespace tristill::train {

class ShardExchange {
 public:
  ShardExchange(Student& student, const std::vector<int>& owners, RankGroup& ranks);

  // branch: of this rank's micro-batches. The sum becomes the gradient of the parameters that this
  // rank owns; the others get none. Returns the sums of the losses over all ranks. votes is added
  // up over ranks.
  LossSums reduce(Gradients branch, int64_t& votes);

  // Student::refresh() of what this rank owns; all ranks then have all derived weights.
  void spread();

  // Rank 0's latents are then the owners'.
  void gather();
  // All ranks' latents, and what an adapted student keeps, are then rank 0's.
  void scatter();

 private:
  struct Item {
    torch::Tensor latent;
    LinearWeight* weight = nullptr;  // nothing for a gain or a low-rank factor
  };
  bool is_packed(const LinearWeight& weight) const;
  bool is_packed(const Item& item) const;
  int64_t packed_bytes(const Item& item) const;
  void pack(const Item& item, uint8_t* to) const;
  void unpack(const Item& item, const uint8_t* from) const;

  Student& student_;
  RankGroup& ranks_;
  std::vector<int> owners_;
  std::vector<Item> items_;
  std::vector<int64_t> sizes_;  // elements
};

}  // namespace tristill::train
