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

prometheus::Histogram* histogram(prometheus::Registry& registry, const char* name, const char* help,
                                 const Buckets& buckets) {
  return &prometheus::BuildHistogram().Name(name).Help(help).Register(registry).Add({}, buckets);
}

prometheus::Counter* counter(prometheus::Registry& registry, const char* name, const char* help) {
  return &prometheus::BuildCounter().Name(name).Help(help).Register(registry).Add({});
}

std::string route_of(const std::string& path) {
  size_t slashes = 0;
  for (size_t i = 0; i < path.size(); ++i) {
    if (path[i] == '/' && ++slashes == (path.starts_with("/v1/") ? 3U : 2U))
      return path.substr(0, i);
  }
  return path;
}

}  // namespace

Metrics::Metrics()
    : requests_(prometheus::BuildCounter()
                    .Name("tristill_http_requests_total")
                    .Help("HTTP requests answered")
                    .Register(registry_)),
      request_seconds_(histogram(registry_, "tristill_http_request_duration_seconds",
                                 "Time from a request's head to the end of its answer",
                                 request_buckets())),
      first_token_(histogram(registry_, "tristill_time_to_first_token_seconds",
                             "Time from submission to the first generated token",
                             first_token_buckets())),
      next_token_(histogram(registry_, "tristill_inter_token_latency_seconds",
                            "Time between generated tokens of one request", next_token_buckets())),
      completion_seconds_(histogram(registry_, "tristill_e2e_request_latency_seconds",
                                    "Time from submission to the end of a completion",
                                    request_buckets())),
      prompt_tokens_(counter(registry_, "tristill_prompt_tokens_total",
                             "Prompt tokens of finished completions")),
      generated_tokens_(counter(registry_, "tristill_generation_tokens_total",
                                "Generated tokens of finished completions")),
      cancelled_(counter(registry_, "tristill_requests_cancelled_total",
                         "Completions whose client left before the end")) {}

void Metrics::request(const std::string& method, const std::string& path, int status,
                      double seconds) {
  // Unknown paths are the client's to choose: they must not make labels.
  const std::string route = status == 404 || status == 405 ? "other" : route_of(path);
  requests_.Add({{"method", method}, {"route", route}, {"status", std::to_string(status)}})
      .Increment();
  request_seconds_->Observe(seconds);
}

void Metrics::completed(double seconds, uint64_t prompt_tokens, uint64_t generated_tokens) {
  completion_seconds_->Observe(seconds);
  prompt_tokens_->Increment(static_cast<double>(prompt_tokens));
  generated_tokens_->Increment(static_cast<double>(generated_tokens));
}

void Metrics::gauge(const std::string& name, const std::string& help,
                    const std::map<std::string, std::string>& labels, double value) {
  prometheus::BuildGauge().Name(name).Help(help).Register(registry_).Add(labels).Set(value);
}

std::string Metrics::text() {
  for (const Collect& collect : collectors_) collect(*this);
  return prometheus::TextSerializer().Serialize(registry_.Collect());
}

void RequestTimer::tokens(uint64_t generated, Metrics& metrics) {
  if (generated == generated_) return;
  const auto now = Clock::now();
  const double seconds = std::chrono::duration<double>(now - last_).count();
  if (generated_ == 0) metrics.first_token(seconds);
  else metrics.next_token(seconds / static_cast<double>(generated - generated_));
  generated_ = generated;
  last_ = now;
}

void RequestTimer::finish(uint64_t prompt_tokens, Metrics& metrics) {
  const double seconds = std::chrono::duration<double>(Clock::now() - started_).count();
  metrics.completed(seconds, prompt_tokens, generated_);
}

}  // namespace tristill::ops
