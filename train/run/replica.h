// Replica: one rank's copy of what a run trains, and the steps that all ranks take together. Rank 0
// leads: each of its calls tells the others to do the same, which is all they do (follow). Alone,
// there is nobody to tell. Trainer's thread only; RankLost from any call ends the run.
//
// Ranks share the micro-batches of each batch, which all of them pack alike, and the optimiser's
// state. The same micro_batches give the same weights at any number of ranks, bit for bit.
#pragma once

#include <atomic>
#include <map>
#include <string>

#include "train/data/prefetch.h"
#include "train/distributed/rank_group.h"
#include "train/distributed/shard_exchange.h"
#include "train/job/spec.h"
#include "train/optim/fogzo.h"
#include "train/optim/optimizer.h"
#include "train/run/gradient_step.h"
#include "train/run/loss_scale.h"
#include "train/run/quantization.h"
#include "train/run/training_data.h"
#include "train/student/student.h"
#include "train/teach/teachers.h"

namespace tristill::train {

// What schedules give a step: shares of the learning rate and of weight decay, and how much of a
// gradient's direction is the straight-through estimator's (train/optim/fogzo.h).
struct StepShares {
  double lr = 1, decay = 1, guidance = 1;
};

struct StepReport {
  LossSums sums;
  double norm = 0;  // of the gradient, before clipping
  bool stop_wanted = false;  // by a signal to any rank
  bool overflowed = false;  // left out because the loss scale was too large for it
};

class Replica {
 public:
  // Takes data's sources. stop: set by this process's signals. device: of the student and of the
  // optimiser's state.
  Replica(const job::TrainSpec& spec, TrainingData& data, RankGroup& ranks,
          const std::atomic<bool>& stop, torch::Device device);

  Student& student() { return student_; }
  Optimizer& optimizer() { return optimizer_; }
  Prefetch& batches() { return batches_; }
  LossScale& loss_scale() { return loss_scale_; }
  const PackingOptions& packing() const { return packing_; }

  // Rank 0's calls. Its weights, optimiser's state, loss scale and place in the data become
  // everybody's.
  void share();
  // The next batch, from the data to the stepped weights; refresh follows.
  StepReport step(const StepShares& shares, bool record_gains);
  // Derives what the next step computes with.
  void refresh(const QuantizationPoint& point);
  // Rank 0 then has all latents, to look at, evaluate and export.
  void gather_weights();
  // The whole state of the optimiser, for a checkpoint.
  std::map<std::string, torch::Tensor> gather_state();
  // The run has ended: the others' follow() returns this.
  void finish(int exit_code);

  // The other ranks': does as rank 0 does until that finishes; its exit code.
  int follow();

 private:
  enum class Order { share, step, refresh, gather_weights, gather_state, finish };
  static constexpr int kNumbers = 3;
  void tell(Order order, double a = 0, double b = 0, double c = 0);
  StepReport take_step(const StepShares& shares, bool record_gains);
  void probe_gradients(const Batch& batch, const LossWeights& weights, double guidance);
  double loss_of(const Batch& batch, const LossWeights& weights);
  MicroBatches share_of_batch() const {
    return {spec_.micro_batches, ranks_.rank(), ranks_.size()};
  }
  Teachers* teachers() { return teachers_.empty() ? nullptr : &teachers_; }
  Batch next_batch();
  void take_share();
  void take_refresh(const QuantizationPoint& point);

  const job::TrainSpec& spec_;
  RankGroup& ranks_;
  const std::atomic<bool>& stop_;
  PackingOptions packing_;
  Student student_;
  std::vector<int> owners_;
  Optimizer optimizer_;
  Prefetch batches_;
  LossScale loss_scale_;
  std::vector<uint8_t> structural_;  // of the vocabulary, for the format loss
  TokenId eos_;
  Teachers teachers_;
  ShardExchange exchange_;
};

}  // namespace tristill::train
