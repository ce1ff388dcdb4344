#include "server/jobs/event_stream.h"

#include <algorithm>

#include "server/jobs/job_json.h"

namespace tristill::jobs {
namespace {

using std::chrono::milliseconds;

constexpr size_t kBatch = 200;
constexpr milliseconds kLookForClient{1000};

bool write_events(const std::vector<StoredEvent>& events, http::StreamWriter& out) {
  std::string text;
  for (const StoredEvent& event : events) {
    text += "id: " + event_name(event.id) + "\ndata: " + event_json(event) + "\n\n";
  }
  return out.write(text);
}

}  // namespace

void EventStream::run(const std::string& job_id, int64_t after, http::StreamWriter& out) const {
  using Clock = std::chrono::steady_clock;
  auto last_write = Clock::now();
  while (!closing && !out.client_gone()) {
    const uint64_t seen = news.count();
    // The state before the events: the last one has its event stored with it.
    const auto job = store.find(job_id);
    const bool ended = !job || is_final(job->state) || job->state == job::JobState::paused;
    const auto events = store.events(job_id, after, kBatch);
    if (!events.empty()) {
      if (!write_events(events, out)) return;
      after = events.back().id;
      last_write = Clock::now();
      continue;
    }
    if (ended) {
      (void)out.write("data: [DONE]\n\n");  // nothing follows, gone or not
      return;
    }
    const auto silence = std::chrono::duration_cast<milliseconds>(Clock::now() - last_write);
    if (silence >= heartbeat) {
      if (!out.write(": waiting\n\n")) return;
      last_write = Clock::now();
      continue;
    }
    news.wait(seen, std::min(kLookForClient, heartbeat - silence));
  }
}

}  // namespace tristill::jobs
