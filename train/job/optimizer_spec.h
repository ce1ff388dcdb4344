// How a job steps its weights and what guards them: plain data, checked when it was read.
// Formulas and sources of the methods are in train/optim. Any thread.
#pragma once

#include <cstdint>

namespace tristill::job {

// What moves the ternary matrices. Embeddings and norms are AdamW's, but for distillix_muon.
enum class OptimizerKind {
  muon,
  adamw,
  spin,            // signs with momentum and tunnelling through the dead zone: an ablation
  sgld,            // descent with annealed noise: an ablation
  distillix_muon,  // the recipe of a model that collapsed: to show the collapse, not to train
};

// A force on |W| after each step.
enum class Polarize { off, polarized, double_well };

enum class LrSchedule { wsd, cosine, two_stage };
enum class WeightDecaySchedule { constant, two_stage };

struct OptimizerSpec {
  OptimizerKind kind = OptimizerKind::muon;
  double lr = 0.02;            // matrices; 1e-3 with spin, 5e-5 with sgld
  double adamw_lr = 3e-3;      // embeddings, norms (all parameters with adamw)
  double weight_decay = 0.0;
  double grad_clip = 1.0;
  uint32_t newton_schulz_steps = 5;

  LrSchedule schedule = LrSchedule::wsd;
  double warmup = 0.02;            // share of the budget
  double warmdown = 0.3;           // wsd: share of the budget, linear to zero
  double lr_floor = 0.03;          // cosine: what the multiplier ends at
  double second_peak = 2.0 / 3.0;  // two_stage: peak of the second line over the first's
  WeightDecaySchedule weight_decay_schedule = WeightDecaySchedule::constant;

  double fogzo_beta = 1.0;  // 1: gradients are the straight-through estimator's

  // Lengths are in units of gamma = mean|W| unless absolute.
  Polarize polarize = Polarize::off;
  double polarize_target = 1.0;
  double polarize_strength = 0.01;
  bool polarize_absolute = false;
  double spin_threshold = 0.5;
  double spin_tunnel = 2.0;
  double spin_momentum = 0.9;
  bool spin_absolute = false;
  double sgld_temperature = 0.01;

  bool norm_pinning = false;
};

// The rate that the matrices move at.
inline double matrix_lr(const OptimizerSpec& spec) {
  return spec.kind == OptimizerKind::adamw ? spec.adamw_lr : spec.lr;
}

// The field that sets it.
inline const char* matrix_lr_field(OptimizerKind kind) {
  return kind == OptimizerKind::adamw ? "optimizer.adamw_lr" : "optimizer.lr";
}

enum class HealthAction { stop, warn };

struct HealthSpec {
  HealthAction action = HealthAction::stop;
  uint32_t patience_steps = 50;  // how long an alarm stands before the run stops
};

}  // namespace tristill::job
