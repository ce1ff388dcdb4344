// Metrics of the daemon in the Prometheus text format, under our names (tristill_*) and, for
// completions, under vLLM's (vllm_metrics.h). Counters only grow; a gauge is there as long as what
// it tells of. Any thread.
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

#include "server/ops/request_record.h"
#include "server/ops/vllm_metrics.h"

namespace tristill::ops {

// What is counted for one model. Any thread.
struct ModelMetrics {
  prometheus::Histogram* first_token = nullptr;  // seconds, from submission
  prometheus::Histogram* next_token = nullptr;   // seconds, between two tokens of a choice
  prometheus::Histogram* e2e_latency = nullptr;  // seconds, from submission to the end
  prometheus::Counter* prompt_tokens = nullptr;
  prometheus::Counter* generated_tokens = nullptr;
  std::map<Phase, prometheus::Counter*> cancelled;          // the client left before the end
  std::map<FinishedReason, prometheus::Counter*> finished;  // choices; those left are in cancelled
  VllmMetrics::Model vllm;
};

// One export: what others own, read for it. Values of one name differ in their labels.
class Scrape {
 public:
  using Labels = std::map<std::string, std::string>;
  void gauge(const std::string& name, const std::string& help, const Labels& labels, double value);
  // A total since the daemon's start that never shrinks; the name ends with _total.
  void counter(const std::string& name, const std::string& help, const Labels& labels,
               double value);

 private:
  friend class Metrics;
  prometheus::Registry registry_;
};

class Metrics {
 public:
  Metrics();

  // One answered HTTP request; route is a pattern, so that ids do not become labels.
  void request(const std::string& method, const std::string& route, int status, double seconds);

  // Counts a completion request that has ended, once; nothing of one without a model. Of its tokens
  // the times were observed as they came (ChoiceTimer).
  void finished(const RequestRecord& record);

  // Lives as long as this object. From now on the model's series are exported.
  const ModelMetrics& model(const std::string& name);

  // Called in each export, before what this object counts is read.
  using Collect = std::function<void(Scrape&)>;
  void on_collect(Collect collect) { collectors_.push_back(std::move(collect)); }

  std::string text();

 private:
  ModelMetrics& series(const std::string& model);

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
  VllmMetrics vllm_;
  std::mutex mutex_;  // guards models_
  std::map<std::string, ModelMetrics> models_;
  std::vector<Collect> collectors_;
};

// Times the tokens of one choice. One thread.
class ChoiceTimer {
 public:
  // So many there are now, the last of them that many seconds after the request.
  void tokens(uint32_t generated, double seconds, const ModelMetrics& metrics);

 private:
  double last_s_ = 0;
  uint32_t generated_ = 0;
};

}  // namespace tristill::ops
