#include "server/jobs/store.h"

#include <sys/random.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <span>

#include "base/sha256.h"

namespace tristill::jobs {
namespace {

using job::JobState;

constexpr int64_t kSchemaVersion = 1;

constexpr char kSchema[] = R"sql(
CREATE TABLE jobs (
  sequence INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  name TEXT NOT NULL,
  spec TEXT NOT NULL,
  state TEXT NOT NULL,
  created_at REAL NOT NULL,
  started_at REAL,
  finished_at REAL,
  fine_tuned_model TEXT,
  error_code TEXT,
  error_message TEXT,
  error_param TEXT,
  event_offset INTEGER NOT NULL DEFAULT 0,
  attempt_event_id INTEGER NOT NULL DEFAULT 0,
  failures INTEGER NOT NULL DEFAULT 0,
  checkpoint_step INTEGER NOT NULL DEFAULT -1,
  idempotency_key TEXT UNIQUE,
  body_digest TEXT NOT NULL
);
CREATE INDEX jobs_by_state ON jobs (state, sequence);
CREATE TABLE events (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  job_id TEXT NOT NULL REFERENCES jobs (id),
  type TEXT NOT NULL,
  line TEXT NOT NULL
);
CREATE INDEX events_by_job ON events (job_id, id);
CREATE INDEX events_by_type ON events (job_id, type, id);
PRAGMA user_version = 1;
)sql";

constexpr std::string_view kSelectJob =
    "SELECT sequence, id, name, spec, state, created_at, started_at, finished_at, "
    "fine_tuned_model, error_code, error_message, error_param, event_offset, attempt_event_id, "
    "failures, checkpoint_step FROM jobs ";

double now() {
  const auto time = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration<double>(time).count();
}

std::string new_id() {
  std::array<uint8_t, 12> bytes{};
  if (::getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
    throw DatabaseError({ErrorCode::unavailable, "no random bytes for a job's id", ""});
  }
  return "ftjob-" + to_hex(bytes);
}

Job read_job(const Statement& row) {
  Job job;
  job.sequence = row.integer(0);
  job.id = row.text(1);
  job.name = row.text(2);
  job.spec = row.text(3);
  const auto state = job::parse_job_state(row.text(4));
  if (!state) {
    throw DatabaseError(
        {ErrorCode::corrupt, "job store: " + job.id + " has the unknown state " + row.text(4), ""});
  }
  job.state = *state;
  job.created_at = row.real(5);
  job.started_at = row.optional_real(6);
  job.finished_at = row.optional_real(7);
  job.fine_tuned_model = row.optional_text(8);
  if (auto code = row.optional_text(9)) job.failure = JobFailure{*code, row.text(10), row.text(11)};
  job.event_offset = row.integer(12);
  job.attempt_event_id = row.integer(13);
  job.failures = row.integer(14);
  job.checkpoint_step = row.integer(15);
  return job;
}

std::optional<Job> select_job(Database& database, std::string_view id) {
  Statement row(database, std::string(kSelectJob) + "WHERE id = ?");
  row.bind(id);
  if (!row.step()) return std::nullopt;
  return read_job(row);
}

Result<std::optional<Job>> select_key(Database& database, const std::string& key,
                                      std::string_view body_digest) {
  std::string id;
  {
    Statement row(database, "SELECT id, body_digest FROM jobs WHERE idempotency_key = ?");
    row.bind(std::string_view(key));
    if (!row.step()) return std::optional<Job>{};
    if (row.text(1) != body_digest) {
      return Error{ErrorCode::conflict,
                   "Idempotency-Key \"" + key + "\" came before with another body; use a new key",
                   "Idempotency-Key"};
    }
    id = row.text(0);
  }
  return select_job(database, id);
}

int64_t count_waiting(Database& database) {
  Statement row(database, "SELECT count(*) FROM jobs WHERE state = 'queued'");
  row.step();
  return row.integer(0);
}

// The job that keeps the name busy, if any.
std::optional<std::string> holder_of_name(Database& database, std::string_view name,
                                          std::string_view except) {
  Statement row(database,
                "SELECT id FROM jobs WHERE name = ? AND id <> ? AND state NOT IN "
                "('succeeded', 'failed', 'cancelled') LIMIT 1");
  row.bind(name).bind(except);
  if (!row.step()) return std::nullopt;
  return row.text(0);
}

Error name_is_busy(const std::string& name, const std::string& holder) {
  return {ErrorCode::conflict,
          "name \"" + name + "\" is the name of " + holder +
              ", which has not ended; wait for it, cancel it, or choose another name",
          "name"};
}

void insert_event(Database& database, std::string_view job_id, std::string_view type,
                  const job::Event& event) {
  Statement row(database, "INSERT INTO events (job_id, type, line) VALUES (?, ?, ?)");
  row.bind(job_id).bind(type).bind(std::string_view(job::format_event(event)));
  row.run();
}

job::Event status_event(JobState state, const std::string& message, double time) {
  return {.type = job::EventType::log,
          .level = state == JobState::failed ? job::EventLevel::error : job::EventLevel::info,
          .time = time,
          .message = message,
          .numbers = {},
          .texts = {{"status", std::string(to_string(state))}}};
}

StoredEvent read_event(const Statement& row) {
  StoredEvent stored{.id = row.integer(0), .type = row.text(1), .event = {}};
  auto event = job::parse_event(row.text(2));
  if (!event) throw DatabaseError({ErrorCode::corrupt, "job store: " + event.error().message, ""});
  stored.event = std::move(*event);
  return stored;
}

// A checkpoint's step when it is progress over what was known.
int64_t newest_step(const std::vector<job::Event>& events) {
  int64_t newest = -1;
  for (const job::Event& event : events) {
    if (event.type != job::EventType::checkpoint) continue;
    const auto step = event.numbers.find("step");
    if (step == event.numbers.end()) continue;
    if (!(step->second >= 0 && step->second < 9e15)) continue;
    newest = std::max(newest, static_cast<int64_t>(step->second));
  }
  return newest;
}

}  // namespace

Store::Store(const std::filesystem::path& path) : writer_(path), reader_(path) {}

Result<std::unique_ptr<Store>> Store::open(const std::filesystem::path& path) {
  try {
    std::unique_ptr<Store> store(new Store(path));
    store->create_tables();
    return store;
  } catch (const DatabaseError& failure) {
    Error error = failure.error();
    error.message += " (" + path.string() + ")";
    return error;
  }
}

void Store::create_tables() {
  const std::lock_guard lock(write_mutex_);
  Transaction transaction(writer_);
  int64_t version = 0;
  {
    Statement row(writer_, "PRAGMA user_version");
    if (row.step()) version = row.integer(0);
  }
  if (version > kSchemaVersion) {
    throw DatabaseError({ErrorCode::corrupt,
                         "job store: schema version " + std::to_string(version) + "; accepted is " +
                             std::to_string(kSchemaVersion),
                         ""});
  }
  if (version == 0) writer_.execute(kSchema);
  transaction.commit();
}

Result<std::optional<Job>> Store::find_key(const std::string& key, std::string_view body_digest) {
  const std::lock_guard lock(read_mutex_);
  return select_key(reader_, key, body_digest);
}

Result<Job> Store::add(const NewJob& wish, size_t max_waiting) {
  const std::lock_guard lock(write_mutex_);
  Transaction transaction(writer_);
  if (wish.idempotency_key) {
    auto known = select_key(writer_, *wish.idempotency_key, wish.body_digest);
    if (!known) return known.error();
    if (*known) return **known;
  }
  if (auto holder = holder_of_name(writer_, wish.name, "")) {
    return name_is_busy(wish.name, *holder);
  }
  if (count_waiting(writer_) >= static_cast<int64_t>(max_waiting)) {
    return Error{ErrorCode::resource_exhausted,
                 std::to_string(max_waiting) + " jobs wait already; try again when some have ended",
                 ""};
  }
  const std::string id = new_id();
  const double time = now();
  {
    Statement row(writer_,
                  "INSERT INTO jobs (id, name, spec, state, created_at, idempotency_key, "
                  "body_digest) VALUES (?, ?, ?, 'queued', ?, ?, ?)");
    row.bind(std::string_view(id)).bind(std::string_view(wish.name));
    row.bind(std::string_view(wish.spec)).bind(time).bind(wish.idempotency_key);
    row.bind(std::string_view(wish.body_digest));
    row.run();
  }
  insert_event(writer_, id, "status", status_event(JobState::queued, "Job created", time));
  Job job = *select_job(writer_, id);
  transaction.commit();
  return job;
}

std::optional<Job> Store::find(std::string_view id) {
  const std::lock_guard lock(read_mutex_);
  return select_job(reader_, id);
}

Result<std::vector<Job>> Store::list(std::string_view after, size_t limit) {
  const std::lock_guard lock(read_mutex_);
  int64_t before = INT64_MAX;
  if (!after.empty()) {
    const auto job = select_job(reader_, after);
    if (!job) {
      return Error{ErrorCode::invalid_argument,
                   "after names the unknown job \"" + std::string(after) +
                       "\"; accepted is the id of the last job of the previous page",
                   "after"};
    }
    before = job->sequence;
  }
  std::vector<Job> jobs;
  Statement row(reader_,
                std::string(kSelectJob) + "WHERE sequence < ? ORDER BY sequence DESC LIMIT ?");
  row.bind(before).bind(static_cast<int64_t>(limit));
  while (row.step()) jobs.push_back(read_job(row));
  return jobs;
}

std::vector<Job> Store::in_states(std::initializer_list<JobState> states) {
  const std::lock_guard lock(read_mutex_);
  std::vector<Job> jobs;
  for (const JobState state : states) {
    Statement row(reader_, std::string(kSelectJob) + "WHERE state = ? ORDER BY sequence");
    row.bind(to_string(state));
    while (row.step()) jobs.push_back(read_job(row));
  }
  std::ranges::sort(jobs, {}, &Job::sequence);
  return jobs;
}

std::map<std::string, uint64_t> Store::counts() {
  const std::lock_guard lock(read_mutex_);
  std::map<std::string, uint64_t> counts;
  for (const JobState state : job::kJobStates) counts[std::string(to_string(state))] = 0;
  Statement row(reader_, "SELECT state, count(*) FROM jobs GROUP BY state");
  while (row.step()) counts[row.text(0)] = static_cast<uint64_t>(row.integer(1));
  return counts;
}

Result<Job> Store::change(const std::string& id, const Transition& transition) {
  const std::lock_guard lock(write_mutex_);
  Transaction transaction(writer_);
  const auto job = select_job(writer_, id);
  if (!job) return Error{ErrorCode::not_found, "no job has the id \"" + id + "\"", "id"};
  if (!may_become(job->state, transition.to)) {
    return Error{ErrorCode::conflict,
                 "job " + id + " is " + std::string(to_string(job->state)) + "; it cannot become " +
                     std::string(to_string(transition.to)),
                 ""};
  }
  if (is_final(job->state)) {
    if (auto holder = holder_of_name(writer_, job->name, id)) {
      return name_is_busy(job->name, *holder);
    }
  }
  const double time = now();
  const bool ends = is_final(transition.to);
  {
    Statement row(writer_,
                  "UPDATE jobs SET state = ?, finished_at = ?, fine_tuned_model = ?, "
                  "error_code = ?, error_message = ?, error_param = ?, failures = ? WHERE id = ?");
    const auto& failure = transition.failure;
    row.bind(to_string(transition.to));
    row.bind(ends ? std::optional<double>(time) : std::nullopt).bind(transition.fine_tuned_model);
    row.bind(failure ? std::optional(failure->code) : std::nullopt);
    row.bind(failure ? std::optional(failure->message) : std::nullopt);
    row.bind(failure ? std::optional(failure->param) : std::nullopt);
    row.bind(transition.failures.value_or(job->failures)).bind(std::string_view(id));
    row.run();
  }
  insert_event(writer_, id, "status", status_event(transition.to, transition.message, time));
  Job changed = *select_job(writer_, id);
  transaction.commit();
  return changed;
}

Result<Job> Store::begin_attempt(const std::string& id) {
  const std::lock_guard lock(write_mutex_);
  Transaction transaction(writer_);
  const auto job = select_job(writer_, id);
  if (!job) return Error{ErrorCode::not_found, "no job has the id \"" + id + "\"", "id"};
  if (!may_become(job->state, JobState::running)) {
    return Error{ErrorCode::conflict,
                 "job " + id + " is " + std::string(to_string(job->state)) + ", not queued", ""};
  }
  const double time = now();
  const char* message = job->started_at ? "Job resumed" : "Job started";
  insert_event(writer_, id, "status", status_event(JobState::running, message, time));
  {
    Statement row(writer_,
                  "UPDATE jobs SET state = 'running', started_at = coalesce(started_at, ?), "
                  "finished_at = NULL, attempt_event_id = ? WHERE id = ?");
    row.bind(time).bind(writer_.last_insert_id()).bind(std::string_view(id));
    row.run();
  }
  Job changed = *select_job(writer_, id);
  transaction.commit();
  return changed;
}

void Store::withdraw_attempt(const Job& before) {
  const std::lock_guard lock(write_mutex_);
  Transaction transaction(writer_);
  const auto job = select_job(writer_, before.id);
  if (!job || job->state != JobState::running) return;
  {
    Statement row(writer_, "DELETE FROM events WHERE id = ?");
    row.bind(job->attempt_event_id);
    row.run();
  }
  {
    Statement row(writer_,
                  "UPDATE jobs SET state = 'queued', started_at = ?, attempt_event_id = ? "
                  "WHERE id = ?");
    row.bind(before.started_at).bind(before.attempt_event_id).bind(std::string_view(before.id));
    row.run();
  }
  transaction.commit();
}

void Store::append_events(const std::string& id, int64_t from, int64_t to,
                          const std::vector<job::Event>& events) {
  const std::lock_guard lock(write_mutex_);
  Transaction transaction(writer_);
  {
    Statement row(writer_, "UPDATE jobs SET event_offset = ? WHERE id = ? AND event_offset = ?");
    row.bind(to).bind(std::string_view(id)).bind(from);
    row.run();
    CHECK(writer_.changes() == 1);
  }
  for (const job::Event& event : events) {
    insert_event(writer_, id, job::to_string(event.type), event);
  }
  Statement row(writer_,
                "UPDATE jobs SET checkpoint_step = ?, failures = 0 "
                "WHERE id = ? AND checkpoint_step < ?");
  const int64_t step = newest_step(events);
  row.bind(step).bind(std::string_view(id)).bind(step);
  row.run();
  transaction.commit();
}

std::vector<StoredEvent> Store::events(const std::string& id, int64_t after, size_t limit) {
  const std::lock_guard lock(read_mutex_);
  std::vector<StoredEvent> events;
  Statement row(reader_,
                "SELECT id, type, line FROM events WHERE job_id = ? AND id > ? "
                "ORDER BY id LIMIT ?");
  row.bind(std::string_view(id)).bind(after).bind(static_cast<int64_t>(limit));
  while (row.step()) events.push_back(read_event(row));
  return events;
}

std::optional<job::Event> Store::outcome(const Job& job) {
  const std::lock_guard lock(read_mutex_);
  Statement row(reader_,
                "SELECT id, type, line FROM events WHERE job_id = ? AND type = 'result' "
                "AND id > ? ORDER BY id DESC LIMIT 1");
  row.bind(std::string_view(job.id)).bind(job.attempt_event_id);
  if (!row.step()) return std::nullopt;
  return read_event(row).event;
}

JobNumbers Store::numbers(const std::string& id) {
  const std::lock_guard lock(read_mutex_);
  JobNumbers numbers;
  {
    Statement row(reader_,
                  "SELECT id, type, line FROM events WHERE job_id = ? AND type = 'progress' "
                  "ORDER BY id DESC LIMIT 1");
    row.bind(std::string_view(id));
    if (row.step()) numbers.progress = read_event(row);
  }
  // An evaluation's metrics have other names than a step's: the newest of each name counts.
  Statement row(reader_,
                "SELECT id, type, line FROM events WHERE job_id = ? AND type = 'metrics' "
                "ORDER BY id DESC LIMIT 8");
  row.bind(std::string_view(id));
  while (row.step()) numbers.metrics.merge(read_event(row).event.numbers);
  return numbers;
}

}  // namespace tristill::jobs
