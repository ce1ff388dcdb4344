// VllmMetrics: completions under the names, labels, types and buckets of vLLM's metrics, so that
// the dashboards and autoscalers that are made for it work. A choice counts as one of vLLM's
// requests (it runs each choice as one), except where a help text says otherwise. The gauges and
// the engine's counters of the same prefix are in model_metrics.h. Any thread.
#pragma once

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <map>
#include <string>
#include <vector>

#include "server/ops/request_record.h"

namespace tristill::ops {

// Bounds of time to first token, in seconds; ours under our own name too.
prometheus::Histogram::BucketBoundaries first_token_buckets();
// Of the time between tokens. vLLM's begin at 10 ms, too coarse for a small model on a CPU: finer
// ones come before them.
prometheus::Histogram::BucketBoundaries next_token_buckets();

class VllmMetrics {
 public:
  explicit VllmMetrics(prometheus::Registry& registry);

  // The series of one model.
  struct Model {
    prometheus::Histogram* first_token = nullptr;  // observed as tokens come
    prometheus::Histogram* next_token = nullptr;
    std::vector<prometheus::Histogram*> by_choice;   // in the order of the table of the source
    std::vector<prometheus::Histogram*> by_request;  // so are these
    std::vector<prometheus::Counter*> totals;        // and these
    std::map<FinishedReason, prometheus::Counter*> finished;
  };
  Model make(const std::string& name);

  static void finished(Model& model, const RequestRecord& record);

 private:
  using Histograms = prometheus::Family<prometheus::Histogram>;
  using Counters = prometheus::Family<prometheus::Counter>;

  Histograms& first_token_;
  Histograms& next_token_;
  Counters& finished_;
  std::vector<Histograms*> by_choice_;
  std::vector<Histograms*> by_request_;
  std::vector<Counters*> totals_;
};

}  // namespace tristill::ops
