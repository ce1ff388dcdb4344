// Metrics of the daemon in the Prometheus text format. Any thread.
#pragma once

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace tristill::ops {

class Metrics {
 public:
  Metrics();

  // One answered HTTP request. The route is the pattern's first two segments at most, so that
  // ids do not become labels.
  void request(const std::string& method, const std::string& path, int status, double seconds);
  void first_token(double seconds) { first_token_->Observe(seconds); }
  void next_token(double seconds) { next_token_->Observe(seconds); }
  void completed(double seconds, uint64_t prompt_tokens, uint64_t generated_tokens);
  void cancelled() { cancelled_->Increment(); }

  // Called before each export: sets gauges that others own.
  using Collect = std::function<void(Metrics&)>;
  void on_collect(Collect collect) { collectors_.push_back(std::move(collect)); }
  // A gauge by name, help and labels, made when it is new.
  void gauge(const std::string& name, const std::string& help,
             const std::map<std::string, std::string>& labels, double value);

  std::string text();

 private:
  prometheus::Registry registry_;
  prometheus::Family<prometheus::Counter>& requests_;
  prometheus::Histogram* request_seconds_;
  prometheus::Histogram* first_token_;
  prometheus::Histogram* next_token_;
  prometheus::Histogram* completion_seconds_;
  prometheus::Counter* prompt_tokens_;
  prometheus::Counter* generated_tokens_;
  prometheus::Counter* cancelled_;
  std::vector<Collect> collectors_;
};

// Times one completion: call tokens() with the running total, finish() at the end.
class RequestTimer {
 public:
  void tokens(uint64_t generated, Metrics& metrics);
  void finish(uint64_t prompt_tokens, Metrics& metrics);

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point started_ = Clock::now();
  Clock::time_point last_ = started_;
  uint64_t generated_ = 0;
};

}  // namespace tristill::ops
