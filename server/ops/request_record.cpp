#include "server/ops/request_record.h"

#include <algorithm>
#include <cstdio>

namespace tristill::ops {

std::string_view to_string(FinishedReason reason) {
  switch (reason) {
    case FinishedReason::abort: return "abort";
    case FinishedReason::stop: return "stop";
    case FinishedReason::length: return "length";
    case FinishedReason::error: return "error";
  }
  return "error";
}

std::string_view to_string(Phase phase) {
  switch (phase) {
    case Phase::none: return "none";
    case Phase::queue: return "queue";
    case Phase::prefill: return "prefill";
    case Phase::decode: return "decode";
  }
  return "none";
}

uint64_t generated_tokens(const RequestRecord& record) {
  uint64_t sum = 0;
  for (const ChoiceRecord& choice : record.choices) sum += choice.generated_tokens;
  return sum;
}

PhaseTimes phase_times(const RequestRecord& record) {
  const auto total = [](const ChoiceRecord& choice) {
    return choice.queued_ms + choice.prefill_ms + choice.decode_ms;
  };
  const auto slowest = std::ranges::max_element(record.choices, {}, total);
  if (slowest == record.choices.end()) return {};
  return {slowest->queued_ms, slowest->prefill_ms, slowest->decode_ms};
}

std::string server_timing(const RequestRecord& record) {
  const PhaseTimes times = phase_times(record);
  char text[128];
  std::snprintf(text, sizeof(text), "queue;dur=%.1f, prefill;dur=%.1f, decode;dur=%.1f",
                times.queued_ms, times.prefill_ms, times.decode_ms);
  return text;
}

}  // namespace tristill::ops
