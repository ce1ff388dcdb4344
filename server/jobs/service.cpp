#include "server/jobs/service.h"

#include <algorithm>
#include <atomic>
#include <system_error>
#include <utility>

#include "server/jobs/routes.h"
#include "server/jobs/store.h"
#include "server/jobs/supervisor.h"
#include "train/job/job_spec.h"

namespace tristill::jobs {
namespace {

NamedInputs named_inputs(const JobServiceOptions& options) {
  return {options.data_dir, options.model_path, options.trace_shard, options.corpus_path};
}

}  // namespace

struct JobService::Parts {
  Parts(JobServiceOptions options, std::unique_ptr<Store> opened)
      : store(std::move(opened)),
        supervisor(*store, news,
                   {.worker_binary = options.worker_binary,
                    .inputs = named_inputs(options),
                    .publish_model = options.publish_model,
                    .kill_after = options.kill_after,
                    .stop_patience = options.stop_patience}),
        routes({*store, supervisor, news, closing, named_inputs(options), options.max_waiting,
                options.heartbeat}) {}

  std::unique_ptr<Store> store;
  Bell news;
  std::atomic<bool> closing{false};
  Supervisor supervisor;
  JobRoutes routes;
};

Result<std::unique_ptr<JobService>> JobService::open(JobServiceOptions options) {
  CHECK(options.publish_model && options.model_path && options.trace_shard);
  std::error_code error;
  options.data_dir = std::filesystem::absolute(options.data_dir, error);
  if (!error && options.worker_binary.has_parent_path()) {
    options.worker_binary = std::filesystem::absolute(options.worker_binary, error);
  }
  for (const char* folder : {"jobs", "models", "corpora"}) {
    if (!error) std::filesystem::create_directories(options.data_dir / folder, error);
  }
  if (error) {
    const bool full = error == std::errc::no_space_on_device;
    return Error{
        full ? ErrorCode::resource_exhausted : ErrorCode::unavailable,
        "cannot use the data directory " + options.data_dir.string() + ": " + error.message(),
        "data_dir"};
  }
  auto store = Store::open(options.data_dir / "tristill.db");
  if (!store) return store.error();
  auto parts = std::make_unique<Parts>(std::move(options), std::move(*store));
  return std::unique_ptr<JobService>(new JobService(std::move(parts)));
}

JobService::JobService(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
JobService::~JobService() = default;

void JobService::add_routes(http::Router& router) { parts_->routes.add_to(router); }

void JobService::start() { parts_->supervisor.start(); }

void JobService::stop() {
  parts_->closing = true;
  parts_->news.ring();
  parts_->supervisor.stop();
}

std::map<std::string, uint64_t> JobService::counts() const { return parts_->store->counts(); }

bool JobService::uses_traces(std::string_view name) const {
  using job::JobState;
  const auto jobs =
      parts_->store->in_states({JobState::queued, JobState::running, JobState::pausing,
                                JobState::paused, JobState::cancelling});
  return std::ranges::any_of(jobs, [&](const Job& job) {
    const auto spec = job::parse_job_spec(job.spec);
    if (!spec) return true;  // of another version: it may
    const auto* train = std::get_if<job::TrainSpec>(&*spec);
    return train != nullptr &&
           std::ranges::find(train->data.traces, name) != train->data.traces.end();
  });
}

}  // namespace tristill::jobs
