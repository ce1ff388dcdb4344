// RankGroup: the ranks of a run as one of them sees it, over c10d's Gloo. Four ways to pass
// tensors, each called by all ranks concerned in one order; what is moved from a GPU goes through
// memory of the CPU. Trainer's thread only. Not for what is passed: shard_exchange.h,
// train/run/replica.h.
//
// Errors: RankLost, from every call, when a rank is gone (at once, its sockets close) or silent for
// so long. The run is then over; what it had is in its checkpoints.
#pragma once

#include <torch/types.h>

#include <chrono>
#include <memory>
#include <stdexcept>

#include "train/distributed/rank_place.h"

namespace tristill::train {

struct RankLost : std::runtime_error {
  using std::runtime_error::runtime_error;
};

class RankGroup {
 public:
  static constexpr std::chrono::minutes kStepWait{10};  // for a rank in the same step
  static constexpr std::chrono::minutes kLongWait{6 * 60};  // for one that reads data or evaluates

  // Alone: every call does nothing.
  RankGroup();
  // Meets the others; as long as the launcher may take to start them.
  RankGroup(const RankPlace& place, std::chrono::seconds wait);
  ~RankGroup();
  RankGroup(const RankGroup&) = delete;
  RankGroup& operator=(const RankGroup&) = delete;

  int rank() const { return place_.rank; }
  int size() const { return place_.size; }
  int local_rank() const { return place_.local_rank; }  // on its machine
  bool leads() const { return place_.rank == 0; }
  // Started by rank 0 on its machine, whose cores they share.
  bool shares_a_machine() const { return !place_.store_file.empty(); }

  // Tensors are contiguous, and of the same size and type on both sides.
  // From one rank to another; the others do nothing.
  void move(torch::Tensor& tensor, int from, int to, std::chrono::milliseconds wait = kStepWait);
  // Both ways at once between this rank and a partner; nothing where there are no elements.
  void exchange(const torch::Tensor& give, torch::Tensor& take, int partner);
  // Rank 0's to all.
  void broadcast(torch::Tensor& tensor, std::chrono::milliseconds wait = kStepWait);
  // Sums [n] numbers over ranks on every rank: ((r0 + r1) + (r2 + r3)) + ..., the same bits on all.
  void add_up(torch::Tensor& numbers);

 private:
  struct Links;
  RankPlace place_;
  std::unique_ptr<Links> links_;
};

}  // namespace tristill::train
