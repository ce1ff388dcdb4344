#include "server/ops/metrics.h"

#include <prometheus/text_serializer.h>

namespace tristill::ops {
namespace {

using Buckets = prometheus::Histogram::BucketBoundaries;

Buckets request_buckets() {
  return {.001, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60};
}

Buckets first_token_buckets() {
  return {.001, .005, .01, .02, .04, .06, .08, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10, 20, 40};
}

// vLLM's start at 10 ms, too coarse for a small model on a CPU.
Buckets next_token_buckets() {
  return {.0005, .001, .002, .005, .01, .025, .05, .075, .1, .15, .2, .3, .5, .75, 1, 2.5, 5};
}

prometheus::Family<prometheus::Histogram>& histogram(prometheus::Registry& registry,
                                                     const char* name, const char* help) {
  return prometheus::BuildHistogram().Name(name).Help(help).Register(registry);
}

prometheus::Family<prometheus::Counter>& counter(prometheus::Registry& registry, const char* name,
                                                 const char* help) {
  return prometheus::BuildCounter().Name(name).Help(help).Register(registry);
}

}  // namespace

Metrics::Metrics()
    : requests_(counter(registry_, "tristill_http_requests_total", "HTTP requests answered")),
      request_seconds_(histogram(registry_, "tristill_http_request_duration_seconds",
                                 "Time from a request's arrival to the end of its answer")),
      first_token_(histogram(registry_, "tristill_time_to_first_token_seconds",
                             "Time from submission to a choice's first generated token")),
      next_token_(histogram(registry_, "tristill_inter_token_latency_seconds",
                            "Time between two generated tokens of a choice")),
      e2e_latency_(histogram(registry_, "tristill_e2e_request_latency_seconds",
                             "Time from submission to the end of a completion")),
      prompt_tokens_(counter(registry_, "tristill_prompt_tokens_total",
                             "Prompt tokens of completions that ended")),
      generated_tokens_(counter(registry_, "tristill_generation_tokens_total",
                                "Generated tokens of completions that ended")),
      cancelled_(counter(registry_, "tristill_requests_cancelled_total",
                         "Completions whose client left before the end")),
      finished_(counter(registry_, "tristill_request_success_total",
                        "Choices that ended, by finish_reason")) {}

void Metrics::request(const std::string& method, const std::string& route, int status,
                      double seconds) {
  const std::string label = route.empty() ? "other" : route;
  requests_
      .Add({{"method", route.empty() ? "other" : method},
            {"route", label},
            {"status", std::to_string(status)}})
      .Increment();
  request_seconds_.Add({{"route", label}}, request_buckets()).Observe(seconds);
}

const ModelMetrics& Metrics::model(const std::string& name) {
  const std::lock_guard lock(mutex_);
  const auto [place, is_new] = models_.try_emplace(name);
  ModelMetrics& made = place->second;
  if (!is_new) return made;
  const std::map<std::string, std::string> labels = {{"model_name", name}};
  const auto finished = [&](const char* reason) {
    return &finished_.Add({{"model_name", name}, {"finished_reason", reason}});
  };
  made.first_token = &first_token_.Add(labels, first_token_buckets());
  made.next_token = &next_token_.Add(labels, next_token_buckets());
  made.e2e_latency = &e2e_latency_.Add(labels, request_buckets());
  made.prompt_tokens = &prompt_tokens_.Add(labels);
  made.generated_tokens = &generated_tokens_.Add(labels);
  made.cancelled = &cancelled_.Add(labels);
  made.finished_stop = finished("stop");
  made.finished_length = finished("length");
  made.finished_error = finished("error");
  return made;
}

void Metrics::gauge(const std::string& name, const std::string& help,
                    const std::map<std::string, std::string>& labels, double value) {
  prometheus::BuildGauge().Name(name).Help(help).Register(registry_).Add(labels).Set(value);
}

std::string Metrics::text() {
  for (const Collect& collect : collectors_) collect(*this);
  return prometheus::TextSerializer().Serialize(registry_.Collect());
}

// Tokens that came together share the time between them.
void ChoiceTimer::tokens(uint32_t generated, const ModelMetrics& metrics) {
  if (generated == generated_) return;
  const auto now = Clock::now();
  const double all = std::chrono::duration<double>(now - last_).count();
  const double each = all / (generated - generated_);
  for (; generated_ < generated; ++generated_) {
    (generated_ == 0 ? metrics.first_token : metrics.next_token)->Observe(each);
  }
  last_ = now;
}

double ChoiceTimer::seconds() const {
  return std::chrono::duration<double>(Clock::now() - started_).count();
}

}  // namespace tristill::ops
