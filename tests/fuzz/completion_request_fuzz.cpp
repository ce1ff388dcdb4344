// Any text as the body of POST /v1/completions; what is accepted keeps every limit.
#include <cstdint>

#include "base/check.h"
#include "server/openai/completion_request.h"

namespace {

using namespace tristill::openai;

void check_limits(const CompletionRequest& request) {
  const auto& sampling = request.sampling;
  CHECK(!request.prompts.empty() && request.prompts.size() <= kMaxPrompts);
  CHECK(request.n >= 1 && request.n * request.prompts.size() <= kMaxChoices);
  CHECK(request.logprobs.value_or(0) <= kMaxLogprobs);
  CHECK(request.stop.size() <= kMaxStops);
  CHECK(sampling.temperature >= 0 && sampling.temperature <= 2);
  CHECK(sampling.top_p >= 0 && sampling.top_p <= 1);
  CHECK(sampling.min_p >= 0 && sampling.min_p <= 1);
  CHECK(sampling.repetition_penalty > 0);
  for (const std::string& stop : request.stop) CHECK(!stop.empty() && stop.size() <= kMaxStopBytes);
  for (const auto& [id, bias] : sampling.logit_bias) CHECK(id >= 0 && bias >= -100 && bias <= 100);
  for (const Prompt& prompt : request.prompts) {
    CHECK(!prompt.empty());
    for (const PromptPart& part : prompt) {
      CHECK(part.is_text || !part.ids.empty());
      for (const auto id : part.ids) CHECK(id >= 0);
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto request = parse_completion_request(text);
  if (request) check_limits(*request);
  else CHECK(!request.error().message.empty());
  return 0;
}
