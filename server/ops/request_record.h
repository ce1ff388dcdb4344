// RequestRecord: what is known of one completion request, for the metrics, the request's line in
// the log, /debug/requests and the Server-Timing header. Plain data, filled by the route that
// answers the request (request_history.h); never a prompt's or an answer's text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tristill::ops {

// How a choice ended, in vLLM's words; abort: nobody waited for its end.
enum class FinishedReason { abort, stop, length, error };

// Where a request was when its client left. prefill also where it is not known whether it had a
// place in the batch already: before the first token.
enum class Phase { none, queue, prefill, decode };

struct ChoiceRecord {
  FinishedReason finished_reason = FinishedReason::abort;
  uint32_t prompt_tokens = 0;  // of its prompt
  uint32_t generated_tokens = 0;
  double queued_ms = 0;   // the engine's timings (TokenEvent), of the last event that was read
  double prefill_ms = 0;
  double decode_ms = 0;
};

struct RequestRecord {
  std::string request_id;
  std::string endpoint;  // "/v1/completions"
  std::string model;     // as served; empty when the request was refused before one was found
  std::string key_id;    // http::Request::key_id
  bool stream = false;
  uint32_t n = 1;           // choices a prompt
  uint32_t max_tokens = 0;  // as asked for
  uint32_t n_prompts = 0;

  // Each prompt once, as usage counts them.
  uint64_t prompt_tokens = 0;
  uint64_t cached_tokens = 0;  // of them, found in the prefix cache
  uint64_t accepted_drafts = 0;
  uint64_t rejected_drafts = 0;
  std::vector<ChoiceRecord> choices;  // by index

  int status = 0;  // of the answer; 0 while it is not known
  Phase cancelled = Phase::none;
  std::string error;  // why it failed, where it did

  // Set by OngoingRequest.
  int64_t started_unix_ms = 0;
  double total_ms = 0;  // from there to the end, or until now
  bool finished = false;
};

std::string_view to_string(FinishedReason reason);
std::string_view to_string(Phase phase);

uint64_t generated_tokens(const RequestRecord& record);

// Of the choice that took longest: its phases add up to what the client waited for.
struct PhaseTimes {
  double queued_ms = 0, prefill_ms = 0, decode_ms = 0;
};
PhaseTimes phase_times(const RequestRecord& record);

// "queue;dur=0.1, prefill;dur=12.3, decode;dur=45.6" in milliseconds: the value of the header
// Server-Timing (W3C Server Timing, section 4).
std::string server_timing(const RequestRecord& record);

}  // namespace tristill::ops
