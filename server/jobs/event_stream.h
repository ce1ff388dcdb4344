// A job's events as server-sent events: what is stored, then what comes, until the job has
// ended. On the handler's thread.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>

#include "base/bell.h"
#include "server/http/message.h"
#include "server/jobs/store.h"

namespace tristill::jobs {

struct EventStream {
  Store& store;
  const Bell& news;
  const std::atomic<bool>& closing;  // the daemon stops: the stream ends without [DONE]
  std::chrono::milliseconds heartbeat;

  // Returns at the end of the job ("data: [DONE]"), of the client or of the daemon.
  void run(const std::string& job_id, int64_t after, http::StreamWriter& out) const;
};

}  // namespace tristill::jobs
