#include "train/run/dryrun.h"

#include <chrono>
#include <cmath>
#include <cstdio>
#include <utility>
#include <vector>

#include "base/atomic_file.h"
#include "model/kv_cache.h"
#include "train/device/place.h"
#include "train/job/dryrun_report.h"
#include "train/run/free_memory.h"
#include "train/run/memory_plan.h"
#include "train/run/packed_trial.h"
#include "train/run/precision.h"
#include "train/run/resident_memory.h"
#include "train/run/step_trial.h"

namespace tristill::train {
namespace {

constexpr uint32_t kPromptTokens = 64;  // of the packed forward pass
constexpr int kSteps = 2;               // the first one touches its memory for the first time

std::string gigabytes(uint64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f GB", static_cast<double>(bytes) / 1e9);
  return text;
}

const char* dtype_name(job::Precision precision) {
  switch (precision) {
    case job::Precision::bf16: return "bfloat16";
    case job::Precision::fp32: return "float32";
    case job::Precision::fp16: return "float16";
  }
  return "bfloat16";
}

std::string digits(double number) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4g", number);
  return text;
}

job::DryRunPhase packed_phase(const char* name, const PackedTrial& trial, uint64_t predicted) {
  return {.name = name,
          .seconds = trial.forward_seconds,
          .predicted_bytes = predicted,
          .measured_bytes = trial.weight_bytes + trial.kv_bytes,
          .resident_bytes = trial.resident_bytes,
          .tokens = kPromptTokens,
          .largest_value = largest_magnitude(trial.logits),
          .finite = all_finite(trial.logits)};
}

// One dry run, from the prediction to the report.
class DryRun {
 public:
  DryRun(const job::JobDirectory& directory, const job::JobFile& file, EventLog& events,
         const std::atomic<bool>& stop)
      : directory_(directory),
        spec_(std::get<job::DryRunSpec>(file.spec)),
        events_(events),
        stop_(stop) {}

  Result<Outcome> run() {
    const auto device = choose_device(spec_.job.device, /*local_rank=*/0, cuda_devices());
    if (!device) return Error{device.error().code, device.error().message, "job.device"};
    device_ = *device;
    plan_ = plan_memory(spec_.job, {.on_cpu = device_.is_cpu()});
    report_prediction();
    if (spec_.measure == job::DryRunMeasure::run) {
      if (auto used = use_precision(spec_.job.precision, device_); !used) return used.error();
      if (auto fits = check_room(); !fits) return fits.error();
      for (const auto& [bits, name] : {std::pair{8U, "A8_forward"}, {4U, "A4_forward"}}) {
        if (stop_) return Outcome{Outcome::interrupted, {}};
        if (bits == 4 && !spec_.job.quantized) continue;  // int8 weights take 8 bits
        try_forward(bits, name);
      }
      compare_logits();
      if (stop_) return Outcome{Outcome::interrupted, {}};
      try_training();
    }
    if (auto written = write_report(); !written) return written.error();
    return Outcome{Outcome::succeeded, {}};
  }

 private:
  uint64_t packed_bytes() const {
    const uint32_t blocks = kv_blocks_for(kPromptTokens);
    return stored_bytes(spec_.job.model) + blocks * kv_block_bytes(spec_.job.model);
  }

  std::string of_ranks() const {
    if (spec_.job.ranks == 1) return "";
    return " in each of " + std::to_string(spec_.job.ranks) + " ranks";
  }

  void report_prediction() {
    report_.device = device_.str();
    report_.ranks = spec_.job.ranks;
    report_.model = spec_.job.model;
    report_.parameters = count_parameters(spec_.job.model).total();
    report_.predicted = {{"latents", plan_.latents},
                         {"optimizer", plan_.optimizer},
                         {"derived", plan_.derived},
                         {"gradients", plan_.gradients},
                         {"activations", plan_.activations},
                         {"exchange", plan_.exchange},
                         {"peak", plan_.peak},
                         {"packed", packed_bytes()}};
    job::Event event{.type = job::EventType::metrics,
                     .message = "predicted memory of a training step: " + gigabytes(plan_.peak) +
                                of_ranks() + ", most of it held in " + plan_.peak_at};
    event.numbers["parameters"] = static_cast<double>(report_.parameters);
    for (const auto& [name, bytes] : report_.predicted) {
      event.numbers["predicted_" + name + "_bytes"] = static_cast<double>(bytes);
    }
    events_.write(std::move(event));
  }

  // Before anything is allocated: a process that the kernel kills says nothing.
  Result<void> check_room() const {
    if (!device_.is_cpu()) return {};  // there an allocation that fails is an error, and says so
    const auto room = free_memory_bytes();
    if (!room || plan_.peak * spec_.job.ranks <= *room) return {};  // they share one machine
    return Error{ErrorCode::resource_exhausted,
                 "a training step needs " + gigabytes(plan_.peak) + of_ranks() + " and " +
                     gigabytes(*room) + " are free; lower job.batch_tokens" +
                     (spec_.job.ranks > 1 ? ", job.ranks" : "") +
                     " or job.model, or set measure to account",
                 "job"};
  }

  void report_phase(const job::DryRunPhase& phase) {
    report_.phases.push_back(phase);
    events_.write(
        {.type = job::EventType::metrics,
         .message = phase.name,
         .numbers = {{phase.name + "_seconds", phase.seconds},
                     {phase.name + "_predicted_bytes", static_cast<double>(phase.predicted_bytes)},
                     {phase.name + "_measured_bytes", static_cast<double>(phase.measured_bytes)}}});
    if (!phase.finite) events_.warn(phase.name + " gave values that are not finite");
  }

  void try_forward(uint32_t bits, const char* name) {
    progress(name, bits == 8 ? 0.0 : 0.3);
    ModelConfig config = spec_.job.model;
    config.activation_bits = bits;
    config.down_activation_bits = spec_.job.quantization.keep_a8_before_down ? 8 : bits;
    const uint64_t before = resident_bytes().value_or(0);
    PackedTrial trial = try_packed_forward(config, kPromptTokens);
    job::DryRunPhase phase = packed_phase(name, trial, packed_bytes());
    phase.resident_before_bytes = before;
    report_phase(phase);
    logits_.push_back(std::move(trial.logits));
  }

  // The same logits would say that one of the two was not computed with its bits.
  void compare_logits() {
    if (logits_.size() < 2) return;
    const job::LogitComparison found{
        .largest_difference = largest_difference(logits_[0], logits_[1]),
        .finite = all_finite(logits_[0]) && all_finite(logits_[1])};
    report_.a4_against_a8 = found;
    events_.write({.type = job::EventType::metrics,
                   .message = "logits of A4 differ from those of A8 by at most " +
                              digits(found.largest_difference) + ", of which the largest is " +
                              digits(largest_magnitude(logits_[0])),
                   .numbers = {{"A4_against_A8_largest_difference", found.largest_difference},
                               {"A4_against_A8_finite", found.finite ? 1.0 : 0.0}}});
    if (found.largest_difference == 0) events_.warn("A4 gave the very logits of A8");
  }

  // Of ranks one alone is tried, that which keeps most.
  void try_training() {
    progress("training_step", 0.6);
    const MemoryPlan alone =
        plan_memory(spec_.job, {.on_cpu = device_.is_cpu(), .exchanges = false});
    const uint64_t before = resident_bytes().value_or(0);
    const StepTrial trial = try_steps(spec_.job, kSteps, device_, alone.rank);
    report_phase({.name = "training_step",
                  .seconds = trial.step_seconds,
                  .predicted_bytes = alone.peak,
                  .measured_bytes = trial.peak_bytes,
                  .resident_before_bytes = before,
                  .resident_bytes = trial.resident_bytes,
                  .tokens = static_cast<uint64_t>(trial.tokens),
                  .largest_value = trial.loss,
                  .finite = std::isfinite(trial.loss)});
  }

  void progress(const std::string& phase, double fraction) {
    events_.write({.type = job::EventType::progress,
                   .numbers = {{"fraction", fraction}},
                   .texts = {{"phase", phase}}});
  }

  Result<void> write_report() {
    report_.timestamp =
        std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
    report_.precision = dtype_name(spec_.job.precision);
    const std::string text = job::format_dryrun_report(report_);
    if (auto written = write_file_atomically(directory_.dryrun_report(), text); !written) {
      return written;
    }
    events_.write(
        {.type = job::EventType::artifact,
         .message = "report",
         .numbers = {{"bytes", static_cast<double>(text.size())}},
         .texts = {{"kind", "dryrun"}, {"path", directory_.dryrun_report().filename().string()}}});
    return {};
  }

  const job::JobDirectory& directory_;
  const job::DryRunSpec& spec_;
  EventLog& events_;
  const std::atomic<bool>& stop_;
  MemoryPlan plan_;
  torch::Device device_ = torch::kCPU;
  std::vector<std::vector<float>> logits_;  // of the packed forward passes
  job::DryRunReport report_;
};

}  // namespace

Result<Outcome> run_dryrun(const job::JobDirectory& directory, const job::JobFile& file,
                           EventLog& events, const std::atomic<bool>& stop) {
  return DryRun(directory, file, events, stop).run();
}

}  // namespace tristill::train
