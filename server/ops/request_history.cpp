#include "server/ops/request_history.h"

#include <algorithm>

namespace tristill::ops {
namespace {

using Clock = std::chrono::steady_clock;

double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

int64_t unix_ms() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
}

KeptRequest kept(const RequestRecord& record) {
  KeptRequest made{record, {}, generated_tokens(record), phase_times(record)};
  if (record.finished) {
    for (const ChoiceRecord& choice : record.choices) ++made.finished[choice.finished_reason];
  }
  auto& choices = made.record.choices;
  choices.resize(std::min(choices.size(), kHistoryChoices));
  choices.shrink_to_fit();
  return made;
}

}  // namespace

uint64_t RequestHistory::begin(const RequestRecord& record, Clock::time_point started) {
  const std::lock_guard lock(mutex_);
  running_.emplace(++n_begun_, Running{record, started});
  return n_begun_;
}

void RequestHistory::update(uint64_t number, const RequestRecord& record) {
  const std::lock_guard lock(mutex_);
  running_.at(number).record = record;
}

void RequestHistory::end(uint64_t number, const RequestRecord& record) {
  metrics_.finished(record);
  KeptRequest made = kept(record);
  const std::lock_guard lock(mutex_);
  running_.erase(number);
  ended_.push_back(std::move(made));
  if (ended_.size() > capacity_) ended_.pop_front();
}

std::vector<KeptRequest> RequestHistory::list(size_t limit) const {
  const std::lock_guard lock(mutex_);
  std::vector<KeptRequest> all;
  for (auto it = running_.rbegin(); it != running_.rend() && all.size() < limit; ++it) {
    all.push_back(kept(it->second.record));
    all.back().record.total_ms = ms_since(it->second.started);
  }
  for (auto it = ended_.rbegin(); it != ended_.rend() && all.size() < limit; ++it) {
    all.push_back(*it);
  }
  return all;
}

std::optional<KeptRequest> RequestHistory::find(const std::string& request_id) const {
  const std::lock_guard lock(mutex_);
  for (auto it = running_.rbegin(); it != running_.rend(); ++it) {
    if (it->second.record.request_id != request_id) continue;
    KeptRequest found = kept(it->second.record);
    found.record.total_ms = ms_since(it->second.started);
    return found;
  }
  const auto found = std::find_if(ended_.rbegin(), ended_.rend(), [&](const KeptRequest& one) {
    return one.record.request_id == request_id;
  });
  return found == ended_.rend() ? std::nullopt : std::optional(*found);
}

OngoingRequest::OngoingRequest(RequestHistory& history, RequestRecord known)
    : record(std::move(known)), history_(history), started_(Clock::now()) {
  record.started_unix_ms = unix_ms();
  record.finished = false;
  number_ = history_.begin(record, started_);
}

OngoingRequest::~OngoingRequest() {
  if (record.finished) return;
  if (record.status == 0) record.status = 500;
  finish();
}

void OngoingRequest::update() {
  if (!record.finished) history_.update(number_, record);
}

void OngoingRequest::finish() {
  if (record.finished) return;
  record.finished = true;
  record.total_ms = ms_since(started_);
  history_.end(number_, record);
}

}  // namespace tristill::ops
