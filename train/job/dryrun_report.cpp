#include "train/job/dryrun_report.h"

#include <nlohmann/json.hpp>

#include "train/job/model_spec.h"

namespace tristill::job {
namespace {

using Json = nlohmann::ordered_json;

Json bytes_or_null(uint64_t bytes) { return bytes > 0 ? Json(bytes) : Json(nullptr); }

Json memory_json(const DryRunPhase& phase) {
  return {{"predicted_bytes", phase.predicted_bytes},
          {"measured_bytes", phase.measured_bytes},
          {"resident_before_bytes", bytes_or_null(phase.resident_before_bytes)},
          {"resident_bytes", bytes_or_null(phase.resident_bytes)}};
}

Json comparison_json(const std::optional<LogitComparison>& comparison) {
  if (!comparison) return nullptr;
  // JSON has no number that is none: null.
  return {{"largest_difference", comparison->largest_difference}, {"finite", comparison->finite}};
}

Json phase_json(const DryRunPhase& phase) {
  return {{"phase", phase.name},
          {"time_s", phase.seconds},
          {"tokens", phase.tokens},
          {"memory", memory_json(phase)},
          {phase.name == "training_step" ? "loss" : "largest_logit", phase.largest_value},
          {"finite", phase.finite}};
}

}  // namespace

std::string format_dryrun_report(const DryRunReport& report) {
  Json phases = Json::array();
  for (const DryRunPhase& phase : report.phases) phases.push_back(phase_json(phase));
  const Json out = {{"timestamp", report.timestamp},
                    {"device", report.device},
                    {"dtype", report.precision},
                    {"params", report.parameters},
                    {"ranks", report.ranks},
                    {"predicted_bytes", report.predicted},
                    {"runs", phases},
                    {"a4_against_a8", comparison_json(report.a4_against_a8)},
                    {"model", Json::parse(format_model_config(report.model))}};
  return out.dump(2) + "\n";
}

}  // namespace tristill::job
