#include "train/worker.h"

#include <atomic>
#include <bit>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <new>
#include <optional>
#include <string>
#include <system_error>

#include "base/atomic_file.h"
#include "base/exit_code.h"
#include "base/file_lock.h"
#include "base/log.h"
#include "train/device/place.h"
#include "train/distributed/local_ranks.h"
#include "train/distributed/rank_group.h"
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
  sigaction(SIGUSR1, &action, nullptr);  // what mpirun passes on: after its SIGTERM it kills
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

int failed(const Error& error) {
  log_error("job failed", {{"reason", error.message}});
  return exit_code(error.code);
}

constexpr std::chrono::seconds kLauncherWait{600};  // for ranks on machines that are still starting
constexpr std::chrono::seconds kLocalWait{60};

// A file on its way to its place (base/atomic_file), or where ranks of one machine met.
bool is_leftover(const std::string& name) {
  return name.find(".tmp-") != std::string::npos || name.starts_with("ranks.");
}

// Of workers that were killed; for the holder of the job's lock. What cannot be removed stays.
void remove_leftovers(const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::directory_iterator entry(folder, error);
  while (!error && entry != std::filesystem::directory_iterator()) {
    std::error_code ignored;
    if (is_leftover(entry->path().filename().string()) && entry->is_regular_file(ignored)) {
      std::filesystem::remove(entry->path(), ignored);
    }
    entry.increment(error);
  }
}

Result<job::JobFile> read_job(const job::JobDirectory& directory) {
  auto text = read_file(directory.job_file());
  if (!text) return text.error();
  return job::parse_job_file(*text);
}

// What a launcher started must be what the job can share out.
Result<void> check_ranks(const job::TrainSpec& spec, const RankPlace& place) {
  const auto size = static_cast<uint32_t>(place.size);
  if (!std::has_single_bit(size) || spec.micro_batches % size != 0) {
    return Error{ErrorCode::invalid_argument,
                 "the launcher started " + std::to_string(size) + " ranks and micro_batches is " +
                     std::to_string(spec.micro_batches) +
                     "; accepted is a power of two of ranks that divides it",
                 "micro_batches"};
  }
  if (spec.ranks > 1 && spec.ranks != size) {
    return Error{ErrorCode::invalid_argument,
                 "the launcher started " + std::to_string(size) + " ranks and ranks is " +
                     std::to_string(spec.ranks) + "; accepted is the same number, or 1",
                 "ranks"};
  }
  return {};
}

// Only training is shared out.
Result<void> check_kind(const job::JobFile& file, const RankPlace& place) {
  if (place.size == 1 || std::holds_alternative<job::TrainSpec>(file.spec)) return {};
  return Error{ErrorCode::invalid_argument,
               "the launcher started " + std::to_string(place.size) +
                   " ranks, and only jobs of kind train are done by more than one; start one",
               "kind"};
}

// Trains as rank 0 among those of the launcher, or those that it starts here, or alone.
Result<Outcome> lead(const job::JobDirectory& directory, const job::JobFile& file,
                     const RankPlace& launched, EventLog& events) {
  std::optional<LocalRanks> local;
  if (launched.size > 1) {
    if (auto fits = check_ranks(file.train(), launched); !fits) return fits.error();
  } else if (file.train().ranks > 1) {
    local.emplace(directory.root, static_cast<int>(file.train().ranks));
  }
  const RankPlace& place = local ? local->place() : launched;
  try {
    RankGroup ranks(place, local ? kLocalWait : kLauncherWait);
    return run_train(directory, file, events, stop_wanted, ranks);
  } catch (const RankLost& lost) {
    const std::string known = local ? local->casualty() : "";
    return Error{ErrorCode::unavailable,
                 known.empty() ? lost.what() : known + " (" + lost.what() + ")", "ranks"};
  }
}

bool is_full(const std::error_code& error) {
  return error == std::errc::no_space_on_device || error == std::errc::not_enough_memory ||
         error == std::errc::too_many_files_open;
}

// What the work came to, whatever it threw.
Result<Outcome> work(const job::JobDirectory& directory, const RankPlace& place, EventLog& events) {
  try {
    auto file = read_job(directory);
    if (!file) return file.error();
    if (auto fits = check_kind(*file, place); !fits) return fits.error();
    if (std::holds_alternative<job::DryRunSpec>(file->spec)) {
      return run_dryrun(directory, *file, events, stop_wanted);
    }
    if (std::holds_alternative<job::TokenizerJob>(file->spec)) {
      return run_tokenizer(directory, *file, events);
    }
    return lead(directory, *file, place, events);
  } catch (const std::bad_alloc&) {
    return Error{ErrorCode::resource_exhausted, "out of memory; lower batch_tokens or the model",
                 ""};
  } catch (const std::filesystem::filesystem_error& failure) {
    // The corpus' or the job's folder; more memory would not help.
    return Error{is_full(failure.code()) ? ErrorCode::resource_exhausted : ErrorCode::unavailable,
                 failure.what(), ""};
  } catch (const std::system_error& failure) {
    return Error{ErrorCode::resource_exhausted, failure.what(), ""};
  } catch (const std::exception& failure) {
    return out_of_memory(failure).value_or(Error{ErrorCode::internal, failure.what(), ""});
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

// As another rank than 0: its exit code.
int follow(const job::JobDirectory& directory, const RankPlace& place) {
  end_with_parent(place);
  try {
    const auto file = read_job(directory);
    if (!file) return failed(file.error());
    if (auto fits = check_kind(*file, place); !fits) return failed(fits.error());
    if (auto fits = check_ranks(file->train(), place); !fits) return failed(fits.error());
    RankGroup ranks(place, place.parent > 0 ? kLocalWait : kLauncherWait);
    const auto code = follow_train(directory, *file, stop_wanted, ranks);
    return code ? *code : failed(code.error());
  } catch (const RankLost& lost) {
    return failed({ErrorCode::unavailable, lost.what(), ""});
  } catch (const std::exception& failure) {
    const Error unknown{ErrorCode::internal, failure.what(), ""};
    return failed(out_of_memory(failure).value_or(unknown));
  }
}

}  // namespace

int run_worker(const std::filesystem::path& root) {
  const job::JobDirectory directory{std::filesystem::absolute(root)};
  handle_signals();
  const auto place = rank_place([](const char* name) { return std::getenv(name); });
  if (!place) return failed(place.error());
  if (place->rank > 0) return follow(directory, *place);
  const auto lock = FileLock::acquire(directory.lock());
  if (!lock) {
    log_error("cannot start", {{"reason", lock.error().message}});
    return exit_code(lock.error().code);
  }
  remove_leftovers(directory.root);
  try {
    EventLog events(directory.events());
    const auto outcome = work(directory, *place, events);
    events.write(result_event(outcome));
    if (!outcome) return failed(outcome.error());
    return *outcome == Outcome::succeeded ? kExitOk : kExitInterrupted;
  } catch (const std::exception& failure) {
    log_error("cannot write events", {{"reason", failure.what()}});
    return kExitResource;
  }
}

}  // namespace tristill::train
