// Limits: how much each key may still ask for, as token buckets that fill within a minute. Requests
// are counted when they come, tokens when they have been computed: a key may owe tokens, and is
// refused until its bucket has filled again. Any thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>

namespace tristill::access {

struct Rates {
  uint32_t requests_per_minute = 0;  // 0: no limit
  uint32_t tokens_per_minute = 0;  // of prompt and output; 0: no limit
};

class Limits {
 public:
  using Time = std::chrono::steady_clock::time_point;
  using Clock = std::function<Time()>;

  // One bucket, as the x-ratelimit headers tell it.
  struct Level {
    uint32_t limit = 0;
    uint32_t remaining = 0;
    std::chrono::milliseconds full_in{0};
  };
  struct Admission {
    std::chrono::milliseconds wait{0};  // zero: admitted; else nothing was counted
    std::string refused_by;  // "requests" or "tokens", with a wait
    std::optional<Level> requests, tokens;  // those that are limited
  };

  explicit Limits(Clock clock = &std::chrono::steady_clock::now) : now_(std::move(clock)) {}

  // One request of a key. computes: whether it will use tokens. New rates hold from now on.
  Admission admit(const std::string& key_id, const Rates& rates, bool computes);

  // For whoever computes: how long the key has to wait until it owes nothing; zero when it may go
  // on. And what a request used in the end. Keys without a limit, and the empty id, never wait.
  std::chrono::milliseconds check(const std::string& key_id);
  void spend(const std::string& key_id, uint64_t tokens);

  // Forgets the keys that are not among these.
  void retain(const std::set<std::string>& key_ids);

 private:
  // level rises by rate a minute up to rate.
  struct Bucket {
    double rate = 0;
    double level = 0;
    Time filled;

    void set_rate(uint32_t per_minute, Time now);
    void fill(Time now);
    std::chrono::milliseconds time_to(double wanted) const;
    std::optional<Level> told() const;
  };
  struct Account {
    Bucket requests, tokens;
  };

  const Clock now_;
  std::mutex mutex_;  // guards accounts_
  std::map<std::string, Account> accounts_;
};

}  // namespace tristill::access
