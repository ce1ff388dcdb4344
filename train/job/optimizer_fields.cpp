#include "train/job/optimizer_fields.h"

#include <array>

namespace tristill::job {
namespace {

using nlohmann::json;

template <class T>
using Names = std::vector<std::pair<std::string, T>>;

const Names<OptimizerKind> kKinds = {{"muon", OptimizerKind::muon},
                                     {"adamw", OptimizerKind::adamw},
                                     {"spin", OptimizerKind::spin},
                                     {"sgld", OptimizerKind::sgld},
                                     {"distillix_muon", OptimizerKind::distillix_muon}};
const Names<Polarize> kPolarize = {{"off", Polarize::off},
                                   {"polarized", Polarize::polarized},
                                   {"double_well", Polarize::double_well}};
const Names<LrSchedule> kSchedules = {
    {"wsd", LrSchedule::wsd}, {"cosine", LrSchedule::cosine}, {"two_stage", LrSchedule::two_stage}};
const Names<WeightDecaySchedule> kDecaySchedules = {{"constant", WeightDecaySchedule::constant},
                                                    {"two_stage", WeightDecaySchedule::two_stage}};
const Names<HealthAction> kActions = {{"stop", HealthAction::stop}, {"warn", HealthAction::warn}};

template <class T>
std::string name_of(const Names<T>& names, T value) {
  for (const auto& [name, named] : names) {
    if (named == value) return name;
  }
  return {};
}

// A field of a choice that was not made would do nothing: better said than ignored.
template <size_t N>
void refuse_unless(Fields& fields, bool chosen, const std::string& choice,
                   const std::array<const char*, N>& names) {
  for (const char* name : names) {
    if (chosen || !fields.has(name) || fields.failed()) continue;
    fields.fail(name, std::string("optimizer.") + name + " does nothing without " + choice +
                          "; set that or leave this out");
  }
}

void read_schedule(Fields& fields, OptimizerSpec& optimizer) {
  fields.choice("schedule", kSchedules, optimizer.schedule);
  fields.real("warmup", 0, 1, optimizer.warmup);
  fields.real("warmdown", 0, 1, optimizer.warmdown);
  fields.real("lr_floor", 0, 1, optimizer.lr_floor);
  fields.real("second_peak", 0, 1, optimizer.second_peak);
  fields.choice("weight_decay_schedule", kDecaySchedules, optimizer.weight_decay_schedule);
  refuse_unless<1>(fields, optimizer.schedule == LrSchedule::wsd, "optimizer.schedule wsd",
                   {"warmdown"});
  refuse_unless<1>(fields, optimizer.schedule == LrSchedule::cosine, "optimizer.schedule cosine",
                   {"lr_floor"});
  refuse_unless<1>(fields, optimizer.schedule == LrSchedule::two_stage,
                   "optimizer.schedule two_stage", {"second_peak"});
}

void read_forces(Fields& fields, OptimizerSpec& optimizer) {
  fields.choice("polarize", kPolarize, optimizer.polarize);
  fields.real("polarize_target", 1e-6, 100, optimizer.polarize_target);
  fields.real("polarize_strength", 1e-6, 10, optimizer.polarize_strength);
  fields.flag("polarize_absolute", optimizer.polarize_absolute);
  refuse_unless<3>(fields, optimizer.polarize != Polarize::off,
                   "optimizer.polarize polarized or double_well",
                   {"polarize_target", "polarize_strength", "polarize_absolute"});
  fields.real("spin_threshold", 0, 100, optimizer.spin_threshold);
  fields.real("spin_tunnel", 0, 100, optimizer.spin_tunnel);
  fields.real("spin_momentum", 0, 0.9999, optimizer.spin_momentum);
  fields.flag("spin_absolute", optimizer.spin_absolute);
  refuse_unless<4>(fields, optimizer.kind == OptimizerKind::spin, "optimizer.kind spin",
                   {"spin_threshold", "spin_tunnel", "spin_momentum", "spin_absolute"});
  fields.real("sgld_temperature", 0, 100, optimizer.sgld_temperature);
  refuse_unless<1>(fields, optimizer.kind == OptimizerKind::sgld, "optimizer.kind sgld",
                   {"sgld_temperature"});
  fields.flag("norm_pinning", optimizer.norm_pinning);
}

}  // namespace

void read_optimizer(Fields& fields, OptimizerSpec& optimizer) {
  fields.choice("kind", kKinds, optimizer.kind);
  // Every weight moves by lr a step: at Muon's rate nothing would be left of the first values.
  if (optimizer.kind == OptimizerKind::spin) optimizer.lr = 1e-3;
  if (optimizer.kind == OptimizerKind::sgld) optimizer.lr = 5e-5;
  fields.real("lr", 1e-8, 10, optimizer.lr);
  // The defaults stand in what earlier versions stored.
  const OptimizerSpec defaults;
  if (optimizer.kind == OptimizerKind::adamw && optimizer.lr != defaults.lr && !fields.failed()) {
    fields.fail("lr",
                "optimizer.lr does nothing with optimizer.kind adamw; set optimizer.adamw_lr");
  }
  fields.real("adamw_lr", 1e-8, 10, optimizer.adamw_lr);
  fields.real("weight_decay", 0, 10, optimizer.weight_decay);
  fields.real("grad_clip", 0, 1e6, optimizer.grad_clip);
  fields.whole("newton_schulz_steps", 1, 20, optimizer.newton_schulz_steps);
  refuse_unless<1>(fields,
                   optimizer.kind == OptimizerKind::muon ||
                       optimizer.newton_schulz_steps == defaults.newton_schulz_steps,
                   "optimizer.kind muon", {"newton_schulz_steps"});
  fields.real("fogzo_beta", 0.5, 1, optimizer.fogzo_beta);
  read_schedule(fields, optimizer);
  read_forces(fields, optimizer);
}

void read_health(Fields& fields, HealthSpec& health) {
  fields.choice("action", kActions, health.action);
  fields.whole("patience_steps", 1, 1 << 20, health.patience_steps);
}

Result<void> check_optimizer(const OptimizerSpec& optimizer, bool quantized) {
  const auto bad = [](const std::string& field, const std::string& message) {
    return Error{ErrorCode::invalid_argument, "optimizer." + field + " " + message,
                 "optimizer." + field};
  };
  if (optimizer.schedule == LrSchedule::wsd && optimizer.warmup + optimizer.warmdown > 1) {
    return bad("warmdown", "and optimizer.warmup together are more than 1; lower one of them");
  }
  if (optimizer.schedule == LrSchedule::two_stage && optimizer.warmup > 0.5) {
    return bad("warmup", "reaches into the second stage; accepted with two_stage is at most 0.5");
  }
  if (optimizer.weight_decay_schedule == WeightDecaySchedule::two_stage &&
      optimizer.weight_decay <= 0) {
    return bad("weight_decay_schedule",
               "two_stage has no decay to end; set optimizer.weight_decay, 0.1 as published");
  }
  if (optimizer.norm_pinning && optimizer.weight_decay > 0) {
    return bad("norm_pinning",
               "holds the size that optimizer.weight_decay shrinks; set one of them to 0 or false");
  }
  if (optimizer.kind == OptimizerKind::spin && optimizer.weight_decay > 0) {
    return bad("weight_decay", "has no place in the spin solver's fixed steps; set it to 0");
  }
  if (!quantized && optimizer.fogzo_beta < 1) {
    return bad("fogzo_beta", "is for ternary weights; set it to 1 or quantized to true");
  }
  if (!quantized && optimizer.polarize != Polarize::off) {
    return bad("polarize", "is for ternary weights; set it to off or quantized to true");
  }
  if (!quantized && optimizer.kind == OptimizerKind::spin) {
    return bad("kind", "spin is for ternary weights; set muon or adamw, or quantized to true");
  }
  return {};
}

json optimizer_json(const OptimizerSpec& s) {
  json out = {{"kind", name_of(kKinds, s.kind)},
              {"adamw_lr", s.adamw_lr},
              {"weight_decay", s.weight_decay},
              {"weight_decay_schedule", name_of(kDecaySchedules, s.weight_decay_schedule)},
              {"grad_clip", s.grad_clip},
              {"schedule", name_of(kSchedules, s.schedule)},
              {"warmup", s.warmup},
              {"fogzo_beta", s.fogzo_beta},
              {"polarize", name_of(kPolarize, s.polarize)},
              {"norm_pinning", s.norm_pinning}};
  if (s.kind != OptimizerKind::adamw) out["lr"] = s.lr;
  if (s.kind == OptimizerKind::muon) out["newton_schulz_steps"] = s.newton_schulz_steps;
  if (s.schedule == LrSchedule::wsd) out["warmdown"] = s.warmdown;
  if (s.schedule == LrSchedule::cosine) out["lr_floor"] = s.lr_floor;
  if (s.schedule == LrSchedule::two_stage) out["second_peak"] = s.second_peak;
  if (s.polarize != Polarize::off) {
    out["polarize_target"] = s.polarize_target;
    out["polarize_strength"] = s.polarize_strength;
    out["polarize_absolute"] = s.polarize_absolute;
  }
  if (s.kind == OptimizerKind::spin) {
    out["spin_threshold"] = s.spin_threshold;
    out["spin_tunnel"] = s.spin_tunnel;
    out["spin_momentum"] = s.spin_momentum;
    out["spin_absolute"] = s.spin_absolute;
  }
  if (s.kind == OptimizerKind::sgld) out["sgld_temperature"] = s.sgld_temperature;
  return out;
}

json health_json(const HealthSpec& health) {
  return {{"action", name_of(kActions, health.action)}, {"patience_steps", health.patience_steps}};
}

}  // namespace tristill::job
