// Following a job: what an event changes in the progress line, and what an ended job means for
// the exit code. Pure functions; the connection is watch_job's (commands.h).
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "base/exit_code.h"
#include "client/output.h"

namespace tristill::client {

// Takes what a progress or metrics event says into the line; other events change nothing.
void apply_event(const nlohmann::json& event, ProgressLine& line);

// True for succeeded, failed and cancelled.
bool is_final_status(const std::string& status);

// An ended job's exit code: ok, interrupted when cancelled, else from the error's code.
ExitCode exit_of_job(const nlohmann::json& job);

}  // namespace tristill::client
