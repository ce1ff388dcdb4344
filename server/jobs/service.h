// JobService: training jobs of one daemon: the store, the supervisor thread and the HTTP routes.
// open() once, add_routes() before the server listens, start() after, stop() before the end.
// Routes answer on any thread. Not the training itself: that is tristill-worker, another process.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "server/http/router.h"

namespace tristill::jobs {

struct JobServiceOptions {
  std::filesystem::path data_dir;       // tristill.db, jobs/, models/, corpora/ lie in it
  std::filesystem::path worker_binary;  // tristill-worker
  // Serves the model file at path under name from now on, in place of one of that name. Called on
  // the supervisor's thread; path is DATA/models/NAME.gguf, whole and durable.
  std::function<Result<void>(const std::string& name, const std::filesystem::path& path)>
      publish_model;
  // The file of the served model called name; nothing when there is none.
  std::function<std::optional<std::filesystem::path>(const std::string& name)> model_path;
  // The shards of the trace set called name; nothing when there is none.
  std::function<std::optional<std::filesystem::path>(const std::string& name)> trace_shard;
  // Folders of corpora beyond DATA/corpora and python-stdlib, asked first. May be empty.
  std::function<std::optional<std::filesystem::path>(const std::string& name)> corpus_path;
  size_t max_waiting = 1000;  // queued jobs; more are refused with 429
  std::chrono::milliseconds kill_after{60000};  // from SIGTERM to SIGKILL of a job nobody wants
  std::chrono::milliseconds stop_patience{10000};  // stop() waits so long for the checkpoint
  std::chrono::milliseconds heartbeat{15000};  // comments on a silent event stream
};

class JobService {
 public:
  // Opens or creates the store. Errors: unavailable, resource_exhausted, or corrupt when the
  // database is of a newer version; publish_model, model_path and trace_shard must be set.
  static Result<std::unique_ptr<JobService>> open(JobServiceOptions options);

  // Without stop() before it, running workers are left alone and adopted at the next start.
  ~JobService();
  JobService(const JobService&) = delete;
  JobService& operator=(const JobService&) = delete;

  // /jobs and everything below it.
  void add_routes(http::Router& router);

  // Starts the supervisor: living workers are adopted, interrupted jobs resumed.
  void start();

  // Ends event streams, asks the running worker to write a checkpoint and stop, waits
  // stop_patience; its job is queued again. A slower worker is adopted at the next start.
  void stop();

  // Jobs by state name, all states listed.
  std::map<std::string, uint64_t> counts() const;

  // Whether a job that has not ended names this trace set.
  bool uses_traces(std::string_view name) const;

 private:
  struct Parts;
  explicit JobService(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace tristill::jobs
