#include "server/ops/metrics.h"

#include <prometheus/text_serializer.h>

#include <algorithm>
#include <iterator>

namespace tristill::ops {
namespace {

using Buckets = prometheus::Histogram::BucketBoundaries;

Buckets request_buckets() {
  return {.001, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60};
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
                         "Completions whose client left before the end, by where they were")),
      finished_(counter(registry_, "tristill_request_success_total",
                        "Choices that ended, by finish_reason")),
      vllm_(registry_) {}

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

const ModelMetrics& Metrics::model(const std::string& name) { return series(name); }

ModelMetrics& Metrics::series(const std::string& name) {
  const std::lock_guard lock(mutex_);
  const auto [place, is_new] = models_.try_emplace(name);
  ModelMetrics& made = place->second;
  if (!is_new) return made;
  const std::map<std::string, std::string> labels = {{"model_name", name}};
  made.first_token = &first_token_.Add(labels, first_token_buckets());
  made.next_token = &next_token_.Add(labels, next_token_buckets());
  made.e2e_latency = &e2e_latency_.Add(labels, request_buckets());
  made.prompt_tokens = &prompt_tokens_.Add(labels);
  made.generated_tokens = &generated_tokens_.Add(labels);
  for (const Phase phase : {Phase::queue, Phase::prefill, Phase::decode}) {
    made.cancelled[phase] =
        &cancelled_.Add({{"model_name", name}, {"phase", std::string(to_string(phase))}});
  }
  for (const auto reason : {FinishedReason::stop, FinishedReason::length, FinishedReason::error}) {
    made.finished[reason] =
        &finished_.Add({{"model_name", name}, {"finished_reason", std::string(to_string(reason))}});
  }
  made.vllm = vllm_.make(name);
  return made;
}

void Metrics::finished(const RequestRecord& record) {
  if (record.model.empty()) return;
  ModelMetrics& model = series(record.model);
  VllmMetrics::finished(model.vllm, record);
  for (const ChoiceRecord& choice : record.choices) {
    const auto counted = model.finished.find(choice.finished_reason);
    if (counted != model.finished.end()) counted->second->Increment();
  }
  model.prompt_tokens->Increment(static_cast<double>(record.prompt_tokens));
  model.generated_tokens->Increment(static_cast<double>(generated_tokens(record)));
  if (record.cancelled != Phase::none) return model.cancelled.at(record.cancelled)->Increment();
  if (!record.choices.empty()) model.e2e_latency->Observe(record.total_ms / 1000);
}

void Scrape::gauge(const std::string& name, const std::string& help, const Labels& labels,
                   double value) {
  prometheus::BuildGauge().Name(name).Help(help).Register(registry_).Add(labels).Set(value);
}

void Scrape::counter(const std::string& name, const std::string& help, const Labels& labels,
                     double value) {
  prometheus::BuildCounter().Name(name).Help(help).Register(registry_).Add(labels).Increment(value);
}

std::string Metrics::text() {
  Scrape scrape;
  for (const Collect& collect : collectors_) collect(scrape);
  auto families = registry_.Collect();
  std::ranges::move(scrape.registry_.Collect(), std::back_inserter(families));
  return prometheus::TextSerializer().Serialize(families);
}

// Tokens that came together share the time between them.
void ChoiceTimer::tokens(uint32_t generated, double seconds, const ModelMetrics& metrics) {
  if (generated == generated_) return;
  const double each = (seconds - last_s_) / (generated - generated_);
  for (; generated_ < generated; ++generated_) {
    const bool is_first = generated_ == 0;
    (is_first ? metrics.first_token : metrics.next_token)->Observe(each);
    (is_first ? metrics.vllm.first_token : metrics.vllm.next_token)->Observe(each);
  }
  last_s_ = seconds;
}

}  // namespace tristill::ops
