// RequestHistory: the completion requests that run and the last that ended, by request id, and the
// one place where an ended request is counted. Bounded; any thread. Not the access log
// (access_log.h), not the requests' texts.
//
//   ops::OngoingRequest ongoing(history, {.request_id = ..., .model = ...});  // once accepted
//   ongoing.record.choices = ...; ongoing.record.status = 200;
//   ongoing.finish();
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "server/ops/metrics.h"
#include "server/ops/request_record.h"

namespace tristill::ops {

inline constexpr size_t kHistoryRequests = 1000;
inline constexpr size_t kHistoryChoices = 16;  // of a request that are kept one by one

// A record as it is kept: of its choices the first kHistoryChoices, of all of them the counts.
struct KeptRequest {
  RequestRecord record;
  std::map<FinishedReason, uint32_t> finished;  // choices by reason; of a running one empty
  uint64_t generated_tokens = 0;
  PhaseTimes times;
};

class RequestHistory {
 public:
  explicit RequestHistory(Metrics& metrics, size_t capacity = kHistoryRequests)
      : metrics_(metrics), capacity_(capacity) {}

  // The newest request of that id. Ids come from clients: several may have the same.
  std::optional<KeptRequest> find(const std::string& request_id) const;
  // The newest first, running ones before those that ended.
  std::vector<KeptRequest> list(size_t limit) const;

 private:
  friend class OngoingRequest;
  using Clock = std::chrono::steady_clock;
  struct Running {
    RequestRecord record;
    Clock::time_point started;
  };

  uint64_t begin(const RequestRecord& record, Clock::time_point started);
  void update(uint64_t number, const RequestRecord& record);
  void end(uint64_t number, const RequestRecord& record);

  Metrics& metrics_;
  const size_t capacity_;
  mutable std::mutex mutex_;  // guards what follows
  uint64_t n_begun_ = 0;
  std::map<uint64_t, Running> running_;  // by number, so by age
  std::deque<KeptRequest> ended_;  // newest last
};

// One request from its acceptance to its end. Its owner's thread. An owner that goes without
// finish() ends it: with status 500 unless the record has another, choices as abort.
class OngoingRequest {
 public:
  OngoingRequest(RequestHistory& history, RequestRecord record);
  ~OngoingRequest();
  OngoingRequest(const OngoingRequest&) = delete;
  OngoingRequest& operator=(const OngoingRequest&) = delete;

  RequestRecord record;
  // Shows record as it is now to whoever asks for it.
  void update();
  // The request has ended: counts it and keeps it. The first call counts, others do nothing.
  void finish();

 private:
  RequestHistory& history_;
  const std::chrono::steady_clock::time_point started_;
  uint64_t number_ = 0;
};

}  // namespace tristill::ops
