// dryrun.json: what a dry run found, for people and scripts. Pure; any thread.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "model/config.h"

namespace tristill::job {

struct DryRunPhase {
  std::string name;  // "A8_forward", "A4_forward", "training_step"
  double seconds = 0;
  uint64_t predicted_bytes = 0;
  uint64_t measured_bytes = 0;
  uint64_t tokens = 0;
  double largest_value = 0;  // of the logits; the training step's loss
  bool finite = true;
};

struct DryRunReport {
  double timestamp = 0;  // Unix seconds
  std::string device = "cpu";
  std::string precision;
  ModelConfig model;
  uint64_t parameters = 0;
  std::map<std::string, uint64_t> predicted;  // bytes, by what they are for
  std::vector<DryRunPhase> phases;            // empty when it only accounted
};

// JSON text, indented.
std::string format_dryrun_report(const DryRunReport& report);

}  // namespace tristill::job
