// The supervisor: one thread that gives the oldest queued job a worker, tells the store what the
// worker says, and decides what its end means. At most one worker at a time.
// Not HTTP (routes.cpp), not training.
#pragma once

#include <atomic>
#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <thread>

#include "base/bell.h"
#include "server/jobs/admission.h"
#include "server/jobs/deploy.h"
#include "server/jobs/event_tail.h"
#include "server/jobs/store.h"
#include "server/jobs/worker_process.h"

namespace tristill::jobs {

struct SupervisorOptions {
  std::filesystem::path worker_binary;
  NamedInputs inputs;
  PublishModel publish_model;
  std::chrono::milliseconds kill_after{60000};
  std::chrono::milliseconds stop_patience{10000};
};

class Supervisor {
 public:
  // news rings when a job or its events have changed.
  Supervisor(Store& store, Bell& news, SupervisorOptions options);
  // Leaves a running worker alone.
  ~Supervisor();
  Supervisor(const Supervisor&) = delete;
  Supervisor& operator=(const Supervisor&) = delete;

  void start();
  // Asks the worker to stop, waits stop_patience for it, ends the thread. A worker that needs
  // longer is left alone, not killed. Any thread, once.
  void stop();
  // Something was queued or is to be cancelled. Any thread.
  void wake() { wake_.ring(); }

  job::JobDirectory directory(const std::string& id) const;

 private:
  using Clock = std::chrono::steady_clock;
  // The job that has a worker now.
  struct Current {
    std::string id;
    WorkerProcess process;
    EventTail tail;
    std::optional<Clock::time_point> asked_at;  // to stop
    bool killed = false;
    std::optional<ProcessEnd> end;
  };
  enum class Mode { run, stop, abandon };

  void loop();
  void step();
  void finish_former();
  void begin_next();
  Result<void> spawn(const Job& job);
  Result<void> prepare_directory(const Job& job);
  void watch();
  void pass_on_wishes();
  void conclude(const std::string& id, const ProcessEnd& end);
  Result<Job> carry_out(const Job& job, const Verdict& verdict);
  void finish(const Job& job, Transition& change) const;
  Result<void> refuse(const std::string& id, const Error& error);
  void follow(const Job& job, WorkerProcess process);

  Store& store_;
  Bell& news_;
  SupervisorOptions options_;
  Bell wake_;
  std::atomic<Mode> mode_{Mode::run};
  std::optional<Clock::time_point> give_up_at_;  // of the thread, once stopping
  std::optional<Current> current_;               // of the thread
  std::thread thread_;
};

}  // namespace tristill::jobs
