#include "server/jobs/outcome.h"

#include <csignal>
#include <cstring>

#include "base/exit_code.h"

namespace tristill::jobs {
namespace {

std::string text_of(const job::Event& event, const std::string& key) {
  const auto found = event.texts.find(key);
  return found == event.texts.end() ? std::string() : found->second;
}

std::string meaning(int code) {
  switch (code) {
    case kExitOk: return "done";
    case kExitUsage: return "the specification is wrong";
    case kExitData: return "corrupt data";
    case kExitNotFound: return "a named input does not exist";
    case kExitUnavailable: return "a service it needs is not there";
    case kExitDefect: return "a defect of the worker";
    case kExitResource: return "out of memory or disk";
    case kExitConflict: return "another worker holds the job";
    case kExitInterrupted: return "interrupted";
    case 127: return "its program or a library of it is missing";
    default: return "see job.log";
  }
}

// Deaths that would only repeat themselves, and the ErrorCode to tell.
std::optional<std::string> lasting_failure(const ProcessEnd& end) {
  if (!end.exit_code) return std::nullopt;
  switch (*end.exit_code) {
    case kExitUsage: return "invalid_argument";
    case kExitData: return "corrupt";
    case kExitNotFound: return "not_found";
    case 127: return "unavailable";
    default: return std::nullopt;
  }
}

Verdict fail(std::string code, std::string message, std::string param, int64_t failures) {
  return {.next = NextStep::fail,
          .message = message,
          .failure = {std::move(code), message, std::move(param)},
          .failures = failures};
}

Verdict judge_death(const Job& job, const ProcessEnd& end) {
  const std::string how = "the worker " + in_words(end);
  if (const auto code = lasting_failure(end)) return fail(*code, how, "", job.failures);
  if (end.exit_code == kExitConflict) {
    return {.next = NextStep::queue, .message = how, .failure = {}, .failures = job.failures};
  }
  if (!end.exit_code && !end.signal) {
    // A power cut or the like: nobody's fault, so it does not count.
    return {.next = NextStep::queue,
            .message = how + "; it starts again from its newest checkpoint",
            .failure = {},
            .failures = job.failures};
  }
  const int64_t failures = job.failures + 1;
  if (failures > kMaxRetries) {
    const bool memory = end.signal == SIGKILL || end.exit_code == kExitResource;
    return fail(memory ? "resource_exhausted" : "internal",
                how + ", " + std::to_string(failures) +
                    " times in a row without reaching a new checkpoint; its output is in job.log",
                "", failures);
  }
  return {.next = NextStep::queue,
          .message = how + " without a result; it starts again from its newest checkpoint (retry " +
                     std::to_string(failures) + " of " + std::to_string(kMaxRetries) + ")",
          .failure = {},
          .failures = failures};
}

}  // namespace

std::string in_words(const ProcessEnd& end) {
  if (end.signal) {
    std::string text = "was killed by signal " + std::to_string(*end.signal);
    const char* name = ::strsignal(*end.signal);
    text += std::string(" (") + (name != nullptr ? name : "unknown");
    if (*end.signal == SIGKILL) text += "; often the kernel, out of memory";
    return text + ")";
  }
  if (end.exit_code) {
    return "exited with code " + std::to_string(*end.exit_code) + " (" + meaning(*end.exit_code) +
           ")";
  }
  return "ended while the daemon was not running";
}

Verdict judge(const Job& job, const std::optional<job::Event>& result, const ProcessEnd& end) {
  if (job.state == job::JobState::cancelling) {
    return {.next = NextStep::cancel,
            .message = "Job cancelled",
            .failure = {},
            .failures = job.failures};
  }
  if (!result) return judge_death(job, end);
  const std::string outcome = text_of(*result, "outcome");
  if (outcome == "succeeded") {
    return {.next = NextStep::finish, .message = {}, .failure = {}, .failures = job.failures};
  }
  if (outcome == "interrupted") {
    return {.next = NextStep::queue,
            .message = "Job interrupted after a checkpoint; it will go on from there",
            .failure = {},
            .failures = job.failures};
  }
  std::string code = text_of(*result, "code");
  if (code.empty()) code = "internal";
  if (outcome == "paused") {
    return {.next = NextStep::pause,
            .message = "Job paused: " + result->message,
            .failure = {std::move(code), result->message, text_of(*result, "param")},
            .failures = job.failures};
  }
  std::string message = result->message;
  if (message.empty()) message = "the worker failed and gave no reason; see job.log";
  return fail(std::move(code), std::move(message), text_of(*result, "param"), job.failures);
}

}  // namespace tristill::jobs
