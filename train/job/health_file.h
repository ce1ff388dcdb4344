// health.json beside a checkpoint's state.pt: what was known of the run when it was saved, and
// whether it was well: a run that collapses goes back to the newest checkpoint that was.
// Plain data and its JSON; any thread.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace tristill::job {

// A way for a run to die that shows in its numbers.
struct HealthAlarm {
  std::string code;     // "decay_only"; see docs/formats.md
  std::string message;  // what is wrong and what to change
  std::string param;    // the setting to change
  bool stops = true;    // a run does not come out of it by itself
};

struct MatrixHealth {
  std::string name;
  double gamma = 0;
  double std = 0;            // of the latents
  double zero_fraction = 0;  // of T
  double plus_fraction = 0;
  double flip_rate = 0;      // share of T that changed a step, since the look before
};

constexpr const char* kHealthFileName = "health.json";
// Of a number that nothing has measured yet.
constexpr double kNotYet = std::numeric_limits<double>::quiet_NaN();

struct HealthFile {
  int64_t step = 0;
  bool healthy = true;
  double seen_tokens = 0;
  double timestamp = 0;      // Unix seconds
  double last_loss = 0;
  double loss_ema = 0;
  int64_t skipped_steps = 0;  // left out because they were not finite
  double lr = 0;
  double grad_norm = kNotYet;          // of the last step, before clipping
  double tokens_per_second = kNotYet;  // between the last two looks
  uint64_t resident_bytes = 0;         // of rank 0's process; 0: the kernel does not say
  uint32_t activation_bits = 8;
  bool flip_done = false;     // activations have gone from 8 to 4 bits
  std::map<std::string, double> numbers;
  std::vector<HealthAlarm> alarms;
  std::vector<MatrixHealth> matrices;
};

// Numbers that are not finite are written as null.
std::string format_health_file(const HealthFile& health);

// What a roll-back asks of the file, of whatever version. Errors: corrupt.
Result<bool> read_healthy(std::string_view text);

}  // namespace tristill::job
