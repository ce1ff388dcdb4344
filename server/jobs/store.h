// The durable memory of jobs: rows in DATA/tristill.db. Every function that changes something has
// it on the disk when it returns. Any thread; failures of the database throw DatabaseError.
// Not the decisions: states are checked against train/job/state.h, chosen by the supervisor.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "server/jobs/database.h"
#include "train/job/event.h"
#include "train/job/state.h"

namespace tristill::jobs {

// What the job failed with, as clients see it. code is an ErrorCode's name.
struct JobFailure {
  std::string code;
  std::string message;
  std::string param;
};

struct Job {
  int64_t sequence = 0;  // order of acceptance
  std::string id;        // "ftjob-..."
  std::string name;      // of the model to be
  std::string spec;      // the complete specification as JSON text
  job::JobState state = job::JobState::queued;
  double created_at = 0;  // Unix seconds, as all times here
  std::optional<double> started_at, finished_at;
  std::optional<std::string> fine_tuned_model;
  std::optional<JobFailure> failure;
  int64_t event_offset = 0;      // bytes of events.jsonl that are stored
  int64_t attempt_event_id = 0;  // events after this one are of the newest attempt
  int64_t failures = 0;          // dead workers since the last progress
  int64_t checkpoint_step = -1;  // the newest that a worker told of
};

struct StoredEvent {
  int64_t id = 0;
  std::string type;  // an EventType, or "status" for the daemon's own
  job::Event event;
};

// The newest numbers of a job; a name that no event had is absent.
struct JobNumbers {
  std::optional<StoredEvent> progress;
  std::map<std::string, double> metrics;
};

struct NewJob {
  std::string name;
  std::string spec;
  std::optional<std::string> idempotency_key;
  std::string body_digest;  // tells whether the same key came with the same body
};

// How a job changes state, and what else changes with it in one transaction.
struct Transition {
  job::JobState to;
  std::string message;  // of the status event
  std::optional<JobFailure> failure;
  std::optional<std::string> fine_tuned_model;
  std::optional<int64_t> failures;
};

class Store {
 public:
  // Errors: unavailable, resource_exhausted, corrupt (also: written by a newer version).
  static Result<std::unique_ptr<Store>> open(const std::filesystem::path& path);

  // Errors: conflict (the name is in use by a job that has not ended, param "name"; the key came
  // with another body, param "Idempotency-Key"), resource_exhausted (max_waiting jobs wait).
  // The same key with the same body gives the job that it gave before.
  Result<Job> add(const NewJob& wish, size_t max_waiting);
  // The job that this key made; conflict when it came with another body.
  Result<std::optional<Job>> find_key(const std::string& key, std::string_view body_digest);

  std::optional<Job> find(std::string_view id);
  // Newest first, those accepted before the job `after` (empty: from the newest).
  Result<std::vector<Job>> list(std::string_view after, size_t limit);
  std::vector<Job> in_states(std::initializer_list<job::JobState> states);  // oldest first
  std::map<std::string, uint64_t> counts();

  // Applies the change to the job's present state. Errors: not_found; conflict, naming the state.
  Result<Job> change(const std::string& id, const Transition& transition);
  // Queued to running: notes where the new attempt's events begin.
  Result<Job> begin_attempt(const std::string& id);
  // Undoes begin_attempt where no worker could be started: the job is as it was before, the event
  // of the attempt is gone. Does nothing when a person's wish came in between.
  void withdraw_attempt(const Job& before);

  // Stores events and how far events.jsonl is read, in one transaction; only when that was
  // `from` before, so that nothing is stored twice.
  void append_events(const std::string& id, int64_t from, int64_t to,
                     const std::vector<job::Event>& events);
  // Oldest first, with greater ids than `after`.
  std::vector<StoredEvent> events(const std::string& id, int64_t after, size_t limit);
  // The newest result event of the newest attempt.
  std::optional<job::Event> outcome(const Job& job);
  JobNumbers numbers(const std::string& id);

 private:
  explicit Store(const std::filesystem::path& path);
  void create_tables();

  std::mutex write_mutex_;  // guards writer_
  Database writer_;
  std::mutex read_mutex_;  // guards reader_
  Database reader_;
};

}  // namespace tristill::jobs
