#include "train/job/dryrun_report.h"

#include <nlohmann/json.hpp>

#include "train/job/model_spec.h"

namespace tristill::job {
namespace {

using Json = nlohmann::ordered_json;

Json phase_json(const DryRunPhase& phase) {
  return {{"phase", phase.name},
          {"time_s", phase.seconds},
          {"tokens", phase.tokens},
          {"memory",
           {{"predicted_bytes", phase.predicted_bytes}, {"measured_bytes", phase.measured_bytes}}},
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
                    {"predicted_bytes", report.predicted},
                    {"runs", phases},
                    {"model", Json::parse(format_model_config(report.model))}};
  return out.dump(2) + "\n";
}

}  // namespace tristill::job
