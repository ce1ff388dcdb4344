#include "server/access/limits.h"

#include <algorithm>
#include <cmath>

namespace tristill::access {

using std::chrono::milliseconds;

namespace {

constexpr double kMinuteMs = 60000;
constexpr double kRounding = 1e-6;  // so that whoever waits as told is let in

}  // namespace

// A bucket is full when it is new. A higher rate adds room, a lower one takes what is above it.
void Limits::Bucket::set_rate(uint32_t per_minute, Time now) {
  fill(now);
  level = per_minute > rate ? level + per_minute - rate : std::min<double>(level, per_minute);
  rate = per_minute;
}

void Limits::Bucket::fill(Time now) {
  const double passed_ms = std::chrono::duration<double, std::milli>(now - filled).count();
  level = std::min(rate, level + rate * passed_ms / kMinuteMs);
  filled = now;
}

milliseconds Limits::Bucket::time_to(double wanted) const {
  if (level >= wanted - kRounding || rate == 0) return milliseconds(0);
  return milliseconds(static_cast<int64_t>(std::ceil((wanted - level) * kMinuteMs / rate)));
}

std::optional<Limits::Level> Limits::Bucket::told() const {
  if (rate == 0) return std::nullopt;
  return Level{static_cast<uint32_t>(rate), static_cast<uint32_t>(std::max(level + kRounding, 0.0)),
               time_to(rate)};
}

Limits::Admission Limits::admit(const std::string& key_id, const Rates& rates, bool computes) {
  const Time now = now_();
  const std::lock_guard lock(mutex_);
  Account& account = accounts_[key_id];
  account.requests.set_rate(rates.requests_per_minute, now);
  account.tokens.set_rate(rates.tokens_per_minute, now);
  Admission admission;
  if (const auto wait = account.requests.time_to(1); wait.count() > 0) {
    admission.wait = wait;
    admission.refused_by = "requests";
  } else if (const auto owed = account.tokens.time_to(1); computes && owed.count() > 0) {
    admission.wait = owed;
    admission.refused_by = "tokens";
  } else if (account.requests.rate > 0) {
    account.requests.level -= 1;
  }
  admission.requests = account.requests.told();
  admission.tokens = account.tokens.told();
  return admission;
}

milliseconds Limits::check(const std::string& key_id) {
  const std::lock_guard lock(mutex_);
  const auto found = accounts_.find(key_id);
  if (found == accounts_.end()) return milliseconds(0);
  found->second.tokens.fill(now_());
  return found->second.tokens.time_to(1);
}

void Limits::spend(const std::string& key_id, uint64_t tokens) {
  const std::lock_guard lock(mutex_);
  const auto found = accounts_.find(key_id);
  if (found == accounts_.end() || found->second.tokens.rate == 0) return;
  found->second.tokens.fill(now_());
  found->second.tokens.level -= static_cast<double>(tokens);
}

void Limits::retain(const std::set<std::string>& key_ids) {
  const std::lock_guard lock(mutex_);
  std::erase_if(accounts_, [&](const auto& account) { return !key_ids.contains(account.first); });
}

}  // namespace tristill::access
