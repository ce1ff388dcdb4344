// One tristill-worker as a process: started by this daemon, or found alive after a restart of
// it. Knows no store and no events. One thread (the supervisor's). Destroying it leaves the
// process alone.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <optional>

#include "base/result.h"
#include "server/jobs/outcome.h"
#include "train/job/directory.h"

namespace tristill::jobs {

class WorkerProcess {
 public:
  // Own session, cwd the job's directory, output to job.log, scrubbed environment, no inherited
  // descriptors, nice +10, first to go when memory runs out. Errors: unavailable, not_found.
  static Result<WorkerProcess> spawn(const std::filesystem::path& binary,
                                     const job::JobDirectory& directory);
  // The living worker that holds the directory's lock; nothing when none does.
  static std::optional<WorkerProcess> adopt(const job::JobDirectory& directory);

  // How it ended; nothing while it lives.
  std::optional<ProcessEnd> ended();

  // SIGTERM to it: checkpoint, then exit. SIGKILL to it and its children.
  void ask_to_stop();
  void kill();

 private:
  WorkerProcess(pid_t pid, bool is_child, job::JobDirectory directory)
      : pid_(pid), is_child_(is_child), directory_(std::move(directory)) {}
  bool is_ours() const;

  pid_t pid_;
  bool is_child_;
  job::JobDirectory directory_;
};

}  // namespace tristill::jobs
