// dryrun.json: what a dry run found, for people and scripts. Pure; any thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "model/config.h"

namespace tristill::job {

struct DryRunPhase {
  std::string name;  // "A8_forward", "A4_forward", "training_step"
  double seconds = 0;
  uint64_t predicted_bytes = 0;
  // What was allocated for weights, keys and values; of the training step, the most that tensors
  // took at once. Not what the process held, which is:
  uint64_t measured_bytes = 0;
  uint64_t resident_before_bytes = 0;  // 0: the kernel does not say
  uint64_t resident_bytes = 0;         // at its end, before it gives anything back; likewise
  uint64_t tokens = 0;
  double largest_value = 0;  // of the logits; the training step's loss
  bool finite = true;
};

// What activations of 4 bits make of the logits that 8 bits gave: same weights, same tokens.
struct LogitComparison {
  double largest_difference = 0;  // max |logits_A8 - logits_A4|; not a number where one is none
  bool finite = true;             // all of both
};

struct DryRunReport {
  double timestamp = 0;  // Unix seconds
  std::string device;    // of the training step: "cpu", "cuda:0"
  std::string precision;
  ModelConfig model;
  uint64_t parameters = 0;
  uint32_t ranks = 1;
  std::map<std::string, uint64_t> predicted;  // bytes of one rank, by what they are for
  std::vector<DryRunPhase> phases;            // empty when it only accounted
  std::optional<LogitComparison> a4_against_a8;  // where both were tried
};

// JSON text, indented.
std::string format_dryrun_report(const DryRunReport& report);

}  // namespace tristill::job
