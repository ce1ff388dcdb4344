#include "server/jobs/supervisor.h"

#include <stdexcept>
#include <system_error>
#include <utility>

#include "base/atomic_file.h"
#include "base/log.h"
#include "server/jobs/error_name.h"
#include "train/job/job_file.h"

namespace tristill::jobs {
namespace {

using job::JobState;
using std::chrono::milliseconds;

constexpr milliseconds kLookAtWorker{250};
constexpr milliseconds kLookAtQueue{5000};
constexpr milliseconds kAfterFailure{1000};

constexpr size_t kTriesARound = 8;  // of queued jobs that cannot start

// A full disk, too many processes: no fault of a job.
bool may_pass(const Error& error) {
  return error.code == ErrorCode::resource_exhausted || error.code == ErrorCode::unavailable;
}

}  // namespace

Supervisor::Supervisor(Store& store, Bell& news, SupervisorOptions options)
    : store_(store), news_(news), options_(std::move(options)) {}

Supervisor::~Supervisor() {
  mode_ = Mode::abandon;
  wake_.ring();
  if (thread_.joinable()) thread_.join();
}

void Supervisor::start() {
  CHECK(!thread_.joinable());
  thread_ = std::thread([this] { loop(); });
}

void Supervisor::stop() {
  if (mode_ == Mode::run) mode_ = Mode::stop;
  wake_.ring();
  if (thread_.joinable()) thread_.join();
}

job::JobDirectory Supervisor::directory(const std::string& id) const {
  return {options_.inputs.data_dir / "jobs" / id};
}

// Where the supervisor's work ends: a failing database or disk ends one step, not the daemon.
void Supervisor::loop() {
  std::string reported;
  while (mode_ != Mode::abandon) {
    const uint64_t seen = wake_.count();
    milliseconds pause = current_ ? kLookAtWorker : kLookAtQueue;
    try {
      step();
      reported.clear();
      if (mode_ == Mode::stop && !current_) return;
      pause = current_ ? kLookAtWorker : kLookAtQueue;
    } catch (const std::exception& failure) {
      if (reported != failure.what()) log_error("jobs stand still", {{"reason", failure.what()}});
      reported = failure.what();
      pause = kAfterFailure;
    }
    if (give_up_at_ && Clock::now() >= *give_up_at_) {
      log_warn("a worker is still writing its checkpoint; the next start will find it", {});
      return;
    }
    wake_.wait(seen, pause);
  }
}

void Supervisor::step() {
  if (mode_ == Mode::stop && !give_up_at_) give_up_at_ = Clock::now() + options_.stop_patience;
  if (!current_ && mode_ == Mode::run) finish_former();
  if (!current_ && mode_ == Mode::run) begin_next();
  if (current_) watch();
}

// Jobs that had a worker when a former daemon ended: followed when it lives, else concluded.
void Supervisor::finish_former() {
  for (const Job& job :
       store_.in_states({JobState::running, JobState::pausing, JobState::cancelling})) {
    if (auto process = WorkerProcess::adopt(directory(job.id))) {
      log_info("worker found alive", {{"job", job.id}});
      follow(job, std::move(*process));
      return;
    }
    EventTail tail(store_, job.id, directory(job.id).events(), job.event_offset);
    tail.accept_loss();
    tail.drain();
    conclude(job.id, ProcessEnd{});
  }
}

// What keeps one job from starting may be its own folder: those behind it are tried as well.
void Supervisor::begin_next() {
  Result<void> first;
  size_t n_waiting = 0;
  for (const Job& job : store_.in_states({JobState::queued})) {
    auto started = spawn(job);
    if (current_ || mode_ != Mode::run) return;
    if (started) continue;
    if (first)
      first = Error{started.error().code,
                    "job " + job.id + " cannot start: " + started.error().message, ""};
    if (++n_waiting == kTriesARound) break;
  }
  if (!first) throw std::runtime_error(first.error().message);
}

// Errors: what may pass, and the job stays queued. A job that cannot start for good has failed.
Result<void> Supervisor::spawn(const Job& job) {
  if (auto prepared = prepare_directory(job); !prepared) return refuse(job.id, prepared.error());
  const auto where = directory(job.id);
  EventTail(store_, job.id, where.events(), job.event_offset).accept_loss();
  auto begun = store_.begin_attempt(job.id);
  if (!begun) return {};  // cancelled meanwhile
  if (auto living = WorkerProcess::adopt(where)) {
    news_.ring();
    follow(*begun, std::move(*living));
    return {};
  }
  auto process = WorkerProcess::spawn(options_.worker_binary, where);
  if (!process) {
    if (may_pass(process.error())) store_.withdraw_attempt(job);
    return refuse(job.id, process.error());
  }
  news_.ring();
  log_info("worker started", {{"job", job.id}, {"name", job.name}});
  follow(*begun, std::move(*process));
  return {};
}

// job.json is written once, so that an attempt after an interruption sees the same inputs.
Result<void> Supervisor::prepare_directory(const Job& job) {
  const auto where = directory(job.id);
  std::error_code error;
  std::filesystem::create_directories(where.root, error);
  if (error) {
    const bool full = error == std::errc::no_space_on_device;
    return Error{full ? ErrorCode::resource_exhausted : ErrorCode::unavailable,
                 "cannot create " + where.root.string() + ": " + error.message(), ""};
  }
  if (std::filesystem::exists(where.job_file(), error)) return {};
  auto spec = job::parse_job_spec(job.spec);
  if (!spec) return spec.error();
  auto file = resolve_inputs(job.id, std::move(*spec), options_.inputs);
  if (!file) return file.error();
  return write_file_atomically(where.job_file(), job::format_job_file(*file));
}

void Supervisor::follow(const Job& job, WorkerProcess process) {
  current_.emplace(
      Current{.id = job.id,
              .process = std::move(process),
              .tail = EventTail(store_, job.id, directory(job.id).events(), job.event_offset),
              .asked_at = {},
              .killed = false,
              .end = {}});
}

void Supervisor::watch() {
  if (!current_->end) current_->end = current_->process.ended();
  // After the look at the process: nothing that it wrote before its end is missed.
  if (current_->tail.drain() > 0) news_.ring();
  if (!current_->end) {
    pass_on_wishes();
    return;
  }
  conclude(current_->id, *current_->end);
  current_.reset();
  wake_.ring();
}

void Supervisor::pass_on_wishes() {
  const auto job = store_.find(current_->id);
  CHECK(job.has_value());
  const bool is_unwanted = job->state != JobState::running;
  if ((is_unwanted || mode_ == Mode::stop) && !current_->asked_at) {
    current_->process.ask_to_stop();
    current_->asked_at = Clock::now();
  }
  // Who stops the daemon wants the checkpoint: stop_patience decides then.
  const bool overdue = is_unwanted && current_->asked_at &&
                       Clock::now() - *current_->asked_at >= options_.kill_after;
  if (overdue && !current_->killed) {
    log_warn("worker did not stop in time and is killed", {{"job", current_->id}});
    current_->process.kill();
    current_->killed = true;
  }
}

void Supervisor::conclude(const std::string& id, const ProcessEnd& end) {
  for (;;) {
    const auto job = store_.find(id);
    CHECK(job.has_value());
    if (!has_worker(job->state)) return;
    const Verdict verdict = judge(*job, store_.outcome(*job), end);
    const auto changed = carry_out(*job, verdict);
    // Refused only when someone's wish came in between: then judge again.
    if (!changed) continue;
    log_info("worker ended", {{"job", id}, {"state", std::string(to_string(changed->state))}});
    news_.ring();
    return;
  }
}

Result<Job> Supervisor::carry_out(const Job& job, const Verdict& verdict) {
  Transition change{.to = JobState::failed,
                    .message = verdict.message,
                    .failure = {},
                    .fine_tuned_model = {},
                    .failures = verdict.failures};
  switch (verdict.next) {
    case NextStep::finish: finish(job, change); break;
    case NextStep::queue:
      change.to = job.state == JobState::pausing ? JobState::paused : JobState::queued;
      break;
    case NextStep::pause:
      change.to = JobState::paused;
      change.failure = verdict.failure;
      break;
    case NextStep::fail: change.failure = verdict.failure; break;
    case NextStep::cancel: change.to = JobState::cancelled; break;
  }
  return store_.change(job.id, change);
}

// A train job's model is served; what other kinds made stays in the job's directory.
void Supervisor::finish(const Job& job, Transition& change) const {
  // What an older version accepted may be refused by now; its worker has ended well all the same.
  const auto spec = job::parse_job_spec(job.spec);
  change.to = JobState::succeeded;
  if (spec && !std::holds_alternative<job::TrainSpec>(*spec)) {
    change.message = "Job succeeded; " + result_file(*spec) + " is in its directory";
    return;
  }
  const auto deployed = deploy_model(directory(job.id).model(), options_.inputs.data_dir / "models",
                                     job.name, options_.publish_model);
  if (deployed) {
    change.message = "Job succeeded; model " + job.name + " is served";
    change.fine_tuned_model = job.name;
    return;
  }
  change.to = JobState::failed;
  change.message = "the trained model cannot be served: " + deployed.error().message;
  change.failure = JobFailure{error_name(deployed.error().code), change.message, {}};
}

// Fails the job, but for what may pass, which is given back.
Result<void> Supervisor::refuse(const std::string& id, const Error& error) {
  if (may_pass(error)) return error;
  log_error("job cannot start", {{"job", id}, {"reason", error.message}});
  const auto changed =
      store_.change(id, {.to = JobState::failed,
                         .message = error.message,
                         .failure = JobFailure{error_name(error.code), error.message, error.param},
                         .fine_tuned_model = {},
                         .failures = {}});
  // Refused when it was cancelled meanwhile: a job without a worker is then concluded later.
  if (changed) news_.ring();
  return {};
}

}  // namespace tristill::jobs
