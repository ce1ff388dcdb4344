// The HTTP routes of jobs: requests in, objects of job_json.h out. Any thread.
#pragma once

#include <atomic>
#include <chrono>

#include "server/http/router.h"
#include "server/jobs/admission.h"
#include "server/jobs/event_stream.h"
#include "server/jobs/store.h"
#include "server/jobs/supervisor.h"

namespace tristill::jobs {

class JobRoutes {
 public:
  struct Parts {
    Store& store;
    Supervisor& supervisor;
    Bell& news;
    const std::atomic<bool>& closing;
    NamedInputs inputs;
    size_t max_waiting;
    std::chrono::milliseconds heartbeat;
  };
  explicit JobRoutes(Parts parts) : parts_(std::move(parts)) {}

  // The routes borrow this object.
  void add_to(http::Router& router);

 private:
  http::Response create(const http::Request& request);
  http::Response list(const http::Request& request);
  http::Response show(const http::Request& request);
  http::Response events(const http::Request& request);
  http::Response health(const http::Request& request);
  http::Response cancel(const http::Request& request);
  http::Response resume(const http::Request& request);

  Result<Job> accept(const http::Request& request);
  Result<Job> wanted_job(const http::Request& request);
  Result<Job> cancel_job(const std::string& id);
  Result<Job> resume_job(const Job& job);
  http::Response answer(const Result<Job>& job);

  Parts parts_;
};

}  // namespace tristill::jobs
