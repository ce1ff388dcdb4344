// The optimiser of a run: which rule moves which parameter, clipping, weight decay, what follows
// the step (polarisation, norm pinning), and all state as plain tensors, so that a checkpoint
// holds it whole. The rules are a file each: muon, adamw, spin, sgld, distillix_muon; polarized,
// double_well, norm_pinning. The kind of the job is for the matrices of the blocks; embeddings and
// norms are AdamW's, except that distillix_muon takes embeddings too. Trainer's thread only.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "train/distributed/rank_group.h"
#include "train/job/spec.h"
#include "train/optim/muon.h"
#include "train/student/student.h"

namespace tristill::train {

// What moves this parameter in a job of that kind.
job::OptimizerKind rule_for(job::OptimizerKind kind, const NamedParameter& parameter);

// What a rule is meant to move an element by in a step at rate lr, as rms; of [rows, cols].
// A weight that moves far less gets no gradient. 0 of a rule whose steps are as large as gradients.
double intended_update(job::OptimizerKind kind, int64_t rows, int64_t cols, double lr);

// How the state is shared out: each rank keeps that of what it owns, and steps only that. Without
// owners this rank has all.
struct OptimizerShare {
  std::vector<int> owners;  // rank of each parameter
  RankGroup* ranks = nullptr;
};

class Optimizer {
 public:
  // seed: the job's, of what the rules draw; the same on all ranks.
  Optimizer(const job::OptimizerSpec& spec, const std::vector<NamedParameter>& parameters,
            at::ScalarType compute, OptimizerShare share = {}, uint64_t seed = 1);

  // Clips the global gradient norm, decays matrices by lr * lr_share * weight_decay * decay_share,
  // steps with lr * lr_share, clears gradients. Returns the norm before clipping, the same on all
  // ranks; a norm that is not finite changes nothing. Parameters without a gradient stay.
  double step(double lr_share, double decay_share = 1.0);

  // For who changes gradients before the step: |e G| of the matrices over all ranks
  // (train/optim/fogzo.h), called by all of them. zero_gradient_fraction is then of the gradients
  // as they are here.
  double look_before_change();

  // The rate of the matrices at a share: distillix_muon has no schedule.
  double matrix_rate(double lr_share) const;

  // Tensors and the step count on the CPU, for checkpoints; whole on rank 0, called by all ranks.
  std::map<std::string, torch::Tensor> state() const;
  // Rank 0's; scatter_state follows. Errors: corrupt when a tensor is missing or has another shape.
  Result<void> load_state(const std::map<std::string, torch::Tensor>& state);
  // Called by all ranks: what rank 0 loaded, or a new state, goes to its owners.
  void scatter_state();

  // Taken by this optimiser and by those whose state it goes on from.
  int64_t steps() const { return steps_; }

  // Share of exactly zero elements in the last gradients of the matrices.
  double zero_gradient_fraction() const { return zero_gradients_; }

 private:
  struct Slot {
    NamedParameter parameter;
    job::OptimizerKind rule = job::OptimizerKind::adamw;
    // All undefined on ranks that do not own it:
    torch::Tensor first, second;  // momentum or inertia; AdamW: both moments; sgld: neither
    torch::Tensor rms;  // [1], what norm pinning holds; set before the first step
  };
  // Calls visit(name, tensor) for each tensor of the state of a slot that has it.
  template <class Visit>
  static void each_tensor(Slot& slot, const Visit& visit);
  void allocate(Slot& slot) const;
  int owner_of(size_t slot) const { return share_.owners.empty() ? 0 : share_.owners[slot]; }
  int rank() const { return share_.ranks == nullptr ? 0 : share_.ranks->rank(); }
  struct GradientLook {
    double norm = 0;
    double zeros = 0;  // share of the matrices' elements
    std::vector<double> squares;  // |G|^2 of each parameter
  };
  GradientLook look_at_gradients();
  void remember_norms();
  static bool decays(const Slot& slot);
  void move(Slot& slot, double lr_share, double decay_share, uint64_t seed) const;
  void move_by_muon(double lr_share);
  void apply_forces(Slot& slot, double lr_share, uint64_t seed) const;

  job::OptimizerSpec spec_;
  at::ScalarType compute_;
  OptimizerShare share_;
  uint64_t seed_;
  std::vector<Slot> slots_;
  int64_t steps_ = 0;
  double zero_gradients_ = 0;
  bool looked_ = false;  // before a change, since the last step
};

}  // namespace tristill::train
