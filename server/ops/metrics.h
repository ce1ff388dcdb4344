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
#include <mutex>
#include <string>
#include <vector>

namespace tristill::ops {

// What is counted for one model. Any thread.
struct ModelMetrics {
  prometheus::Histogram* first_token = nullptr;   // seconds, from submission
  prometheus::Histogram* next_token = nullptr;    // seconds, between two tokens of a choice
  prometheus::Histogram* e2e_latency = nullptr;   // seconds, from submission to the end
  prometheus::Counter* prompt_tokens = nullptr;
  prometheus::Counter* generated_tokens = nullptr;
  prometheus::Counter* cancelled = nullptr;       // the client left before the end
  prometheus::Counter* finished_stop = nullptr;   // choices by finish_reason
  prometheus::Counter* finished_length = nullptr;
  prometheus::Counter* finished_error = nullptr;
};

class Metrics {
 public:
  Metrics();

  // One answered HTTP request; route is a pattern, so that ids do not become labels.
  void request(const std::string& method, const std::string& route, int status, double seconds);

  // Lives as long as this object.
  const ModelMetrics& model(const std::string& name);

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
  prometheus::Family<prometheus::Histogram>& request_seconds_;
  prometheus::Family<prometheus::Histogram>& first_token_;
  prometheus::Family<prometheus::Histogram>& next_token_;
  prometheus::Family<prometheus::Histogram>& e2e_latency_;
  prometheus::Family<prometheus::Counter>& prompt_tokens_;
  prometheus::Family<prometheus::Counter>& generated_tokens_;
  prometheus::Family<prometheus::Counter>& cancelled_;
  prometheus::Family<prometheus::Counter>& finished_;
  std::mutex mutex_;  // guards models_
  std::map<std::string, ModelMetrics> models_;
  std::vector<Collect> collectors_;
};

// Times one choice: tokens() with its running total whenever some came.
class ChoiceTimer {
 public:
  void tokens(uint32_t generated, const ModelMetrics& metrics);
  // Since it was made.
  double seconds() const;

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point started_ = Clock::now();
  Clock::time_point last_ = started_;
  uint32_t generated_ = 0;
};

}  // namespace tristill::ops
