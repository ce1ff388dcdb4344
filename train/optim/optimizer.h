// Optimisers. Muon for the linear matrices, AdamW for everything else; or AdamW alone.
// State is plain tensors by parameter, so a checkpoint holds it whole. Trainer's thread only.
//
// Muon (Jordan et al. 2024): M <- mu M + G;  U = NS(G + mu M), orthogonalised by Newton-Schulz
//   X <- a X + (b A + c A^2) X, A = X X^t, (a, b, c) = (3.4445, -4.7750, 2.0315), X0 = M / |M|_F
//   W <- W - lr * sqrt(max(1, out/in)) * U.   The update is not multiplied by |G|.
// AdamW (Loshchilov & Hutter 2019), betas (0.9, 0.95), eps 1e-10, decoupled decay.
#pragma once

#include <torch/torch.h>

#include <map>
#include <string>
#include <vector>

#include "train/job/spec.h"
#include "train/student/student.h"

namespace tristill::train {

// Newton-Schulz orthogonalisation of one matrix [out, in], in compute type, returned as fp32.
torch::Tensor orthogonalize(const torch::Tensor& matrix, uint32_t steps, at::ScalarType compute);

class Optimizer {
 public:
  Optimizer(const job::OptimizerSpec& spec, const std::vector<NamedParameter>& parameters,
            at::ScalarType compute);

  // Clips the global gradient norm, steps with lr * multiplier, clears gradients. Returns the
  // norm before clipping; a norm that is not finite changes nothing.
  double step(double multiplier);

  // Tensors and the step count, for checkpoints.
  std::map<std::string, torch::Tensor> state() const;
  // Errors: corrupt when a tensor is missing or has another shape.
  Result<void> load_state(const std::map<std::string, torch::Tensor>& state);

  // Share of exactly zero elements in the last gradients of the matrices.
  double zero_gradient_fraction() const { return zero_gradients_; }

 private:
  struct Slot {
    NamedParameter parameter;
    bool muon = false;
    torch::Tensor first, second;  // Muon: momentum; AdamW: both moments
  };
  double gradient_norm();
  void step_muon(Slot& slot, double lr) const;
  void step_adamw(Slot& slot, double lr) const;
  double momentum() const;

  job::OptimizerSpec spec_;
  at::ScalarType compute_;
  std::vector<Slot> slots_;
  int64_t steps_ = 0;
  double zero_gradients_ = 0;
};

}  // namespace tristill::train
