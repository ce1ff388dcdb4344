// Events: what a worker tells the daemon, one JSON object a line in events.jsonl.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>

#include "base/result.h"

namespace tristill::job {

enum class EventType {
  progress,    // phase, share done, eta_seconds
  metrics,     // numbers of one step
  checkpoint,  // a whole checkpoint stands: step, path
  artifact,    // a file stands: path (relative to the job's directory), bytes, sha256
  log,         // a message for people
  result,      // the last one: outcome and exit code
};
enum class EventLevel { info, warn, error };

struct Event {
  EventType type = EventType::log;
  EventLevel level = EventLevel::info;
  double time = 0;  // Unix seconds
  std::string message;
  std::map<std::string, double> numbers;
  std::map<std::string, std::string> texts;
};

std::string_view to_string(EventType type);
std::string_view to_string(EventLevel level);

// One line without its newline. Non-finite numbers are written as strings "nan", "inf", "-inf".
std::string format_event(const Event& event);
// Errors: corrupt, naming what is wrong.
Result<Event> parse_event(std::string_view line);

// Keys and texts that the daemon acts on:
//   result:   texts["outcome"] = "succeeded" | "failed" | "interrupted" | "paused"; on failure
//             message says why, texts["code"] the ErrorCode's name and texts["param"] the
//             field; paused waits for a person: the code is "collapsed", texts["alarm"] the
//             health alarm's
//   artifact: texts["kind"] = "model", texts["path"] = "student.gguf"
//   progress: texts["phase"], numbers["fraction"], numbers["eta_seconds"], numbers["step"],
//             numbers["total_steps"] (0 when unknown)
//   metrics:  numbers["step"], ["loss"], ["ce"], ["kd"], ["tokens"], ["tokens_per_second"],
//             ["lr"], ["grad_norm"], ["zero_fraction"], ["flip_rate"], ["bits_per_byte"], ...

}  // namespace tristill::job
