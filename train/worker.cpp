#include "train/worker.h"

#include <atomic>
#include <csignal>
#include <new>
#include <optional>
#include <system_error>

#include "base/atomic_file.h"
#include "base/exit_code.h"
#include "base/file_lock.h"
#include "base/log.h"
#include "train/event_log.h"
#include "train/job/directory.h"
#include "train/job/job_file.h"
#include "train/run/dryrun.h"
#include "train/run/tokenizer.h"
#include "train/run/train.h"

namespace tristill::train {
namespace {

std::atomic<bool> stop_wanted{false};
static_assert(std::atomic<bool>::is_always_lock_free);

void ask_to_stop(int) { stop_wanted = true; }

void handle_signals() {
  struct sigaction action{};
  action.sa_handler = ask_to_stop;
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
}

std::string_view name_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::invalid_argument: return "invalid_argument";
    case ErrorCode::not_found: return "not_found";
    case ErrorCode::conflict: return "conflict";
    case ErrorCode::resource_exhausted: return "resource_exhausted";
    case ErrorCode::unavailable: return "unavailable";
    case ErrorCode::corrupt: return "corrupt";
    case ErrorCode::cancelled: return "cancelled";
    case ErrorCode::internal: return "internal";
  }
  return "internal";
}

// What the work came to, whatever it threw.
Result<Outcome> work(const job::JobDirectory& directory, EventLog& events) {
  try {
    auto text = read_file(directory.job_file());
    if (!text) return text.error();
    auto file = job::parse_job_file(*text);
    if (!file) return file.error();
    if (std::holds_alternative<job::DryRunSpec>(file->spec)) {
      return run_dryrun(directory, *file, events, stop_wanted);
    }
    if (std::holds_alternative<job::TokenizerJob>(file->spec)) {
      return run_tokenizer(directory, *file, events);
    }
    return run_train(directory, *file, events, stop_wanted);
  } catch (const std::bad_alloc&) {
    return Error{ErrorCode::resource_exhausted, "out of memory; lower batch_tokens or the model",
                 ""};
  } catch (const std::system_error& failure) {
    return Error{ErrorCode::resource_exhausted, failure.what(), ""};
  } catch (const std::exception& failure) {
    return Error{ErrorCode::internal, failure.what(), ""};
  }
}

job::Event result_event(const Result<Outcome>& outcome) {
  job::Event event{.type = job::EventType::result};
  if (!outcome) {
    event.level = job::EventLevel::error;
    event.message = outcome.error().message;
    event.texts = {{"outcome", "failed"},
                   {"code", std::string(name_of(outcome.error().code))},
                   {"param", outcome.error().param}};
  } else if (*outcome == Outcome::paused) {
    event.level = job::EventLevel::error;
    event.message = outcome->alarm.message;
    event.texts = {{"outcome", "paused"},
                   {"code", "collapsed"},
                   {"alarm", outcome->alarm.code},
                   {"param", outcome->alarm.param}};
  } else if (*outcome == Outcome::interrupted) {
    event.message = "stopped after a checkpoint; can be resumed";
    event.texts = {{"outcome", "interrupted"}};
  } else {
    event.message = "done";
    event.texts = {{"outcome", "succeeded"}};
  }
  return event;
}

}  // namespace

int run_worker(const std::filesystem::path& root) {
  const job::JobDirectory directory{std::filesystem::absolute(root)};
  handle_signals();
  const auto lock = FileLock::acquire(directory.lock());
  if (!lock) {
    log_error("cannot start", {{"reason", lock.error().message}});
    return exit_code(lock.error().code);
  }
  try {
    EventLog events(directory.events());
    const auto outcome = work(directory, events);
    events.write(result_event(outcome));
    if (!outcome) {
      log_error("job failed", {{"reason", outcome.error().message}});
      return exit_code(outcome.error().code);
    }
    return *outcome == Outcome::succeeded ? kExitOk : kExitInterrupted;
  } catch (const std::exception& failure) {
    log_error("cannot write events", {{"reason", failure.what()}});
    return kExitResource;
  }
}

}  // namespace tristill::train
