#include "server/ops/vllm_metrics.h"

#include <optional>

namespace tristill::ops {
namespace {

using Buckets = prometheus::Histogram::BucketBoundaries;

Buckets latency_buckets() {
  return {.3, .5, .8, 1,  1.5, 2,   2.5, 5,   10,   15,  20,
          30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680};
}

// 1, 2, 5, 10, ... up to the longest contexts.
Buckets token_buckets() {
  Buckets buckets;
  for (double power = 1; power < 1e6; power *= 10) {
    buckets.insert(buckets.end(), {power, 2 * power, 5 * power});
  }
  return buckets;
}

Buckets count_buckets() { return {1, 2, 5, 10, 20}; }

struct ChoiceHistogram {
  const char* name;
  const char* help;
  Buckets (*buckets)();
  std::optional<double> (*value)(const RequestRecord&, const ChoiceRecord&);
};

constexpr double kSecond = 1000;  // ms

// Of choices that ended by themselves: what the time of one that was left says depends on who left.
constexpr ChoiceHistogram kByChoice[] = {
    {"vllm:request_queue_time_seconds", "Time until a place in the batch", latency_buckets,
     [](const auto&, const auto& c) -> std::optional<double> { return c.queued_ms / kSecond; }},
    {"vllm:request_inference_time_seconds", "Time in the batch", latency_buckets,
     [](const auto&, const auto& c) -> std::optional<double> {
       return (c.prefill_ms + c.decode_ms) / kSecond;
     }},
    {"vllm:request_prefill_time_seconds", "Time from a place in the batch to the first token",
     latency_buckets,
     [](const auto&, const auto& c) -> std::optional<double> { return c.prefill_ms / kSecond; }},
    {"vllm:request_decode_time_seconds", "Time from the first token to the last", latency_buckets,
     [](const auto&, const auto& c) -> std::optional<double> { return c.decode_ms / kSecond; }},
    {"vllm:request_time_per_output_token_seconds", "Mean time between tokens of a choice",
     next_token_buckets,
     [](const auto&, const auto& c) -> std::optional<double> {
       if (c.generated_tokens < 2) return std::nullopt;
       return c.decode_ms / kSecond / (c.generated_tokens - 1);
     }},
    {"vllm:request_prompt_tokens", "Prompt tokens", token_buckets,
     [](const auto&, const auto& c) -> std::optional<double> { return c.prompt_tokens; }},
    {"vllm:request_generation_tokens", "Generated tokens", token_buckets,
     [](const auto&, const auto& c) -> std::optional<double> { return c.generated_tokens; }},
    {"vllm:request_params_max_tokens", "max_tokens as asked for", token_buckets,
     [](const auto& r, const auto&) -> std::optional<double> { return r.max_tokens; }},
};

struct RequestHistogram {
  const char* name;
  const char* help;
  Buckets (*buckets)();
  double (*value)(const RequestRecord&);
};

constexpr RequestHistogram kByRequest[] = {
    {"vllm:e2e_request_latency_seconds", "Time of a whole request, all its choices",
     latency_buckets, [](const RequestRecord& r) { return r.total_ms / kSecond; }},
    {"vllm:request_params_n", "Choices a prompt that a request asked for", count_buckets,
     [](const RequestRecord& r) { return static_cast<double>(r.n); }},
};

struct Total {
  const char* name;
  const char* help;
  uint64_t (*value)(const RequestRecord&);
};

constexpr Total kTotals[] = {
    {"vllm:prompt_tokens_total", "Prompt tokens; once for all choices of a prompt",
     [](const RequestRecord& r) { return r.prompt_tokens; }},
    {"vllm:generation_tokens_total", "Generated tokens", generated_tokens},
    {"vllm:prompt_tokens_cached_total", "Prompt tokens that were not computed",
     [](const RequestRecord& r) { return r.cached_tokens; }},
    {"vllm:prefix_cache_queries_total", "Tokens that were looked for in the prefix cache",
     [](const RequestRecord& r) { return r.prompt_tokens; }},
    {"vllm:prefix_cache_hits_total", "Tokens of them that were there",
     [](const RequestRecord& r) { return r.cached_tokens; }},
    {"vllm:spec_decode_num_draft_tokens_total", "Guessed tokens",
     [](const RequestRecord& r) { return r.accepted_drafts + r.rejected_drafts; }},
    {"vllm:spec_decode_num_accepted_tokens_total", "Guessed tokens that became output",
     [](const RequestRecord& r) { return r.accepted_drafts; }},
};

constexpr FinishedReason kReasons[] = {FinishedReason::abort, FinishedReason::stop,
                                       FinishedReason::length, FinishedReason::error};

prometheus::Family<prometheus::Histogram>& histogram(prometheus::Registry& registry,
                                                     const char* name, const char* help) {
  return prometheus::BuildHistogram().Name(name).Help(help).Register(registry);
}

bool ended_by_itself(const ChoiceRecord& choice) {
  return choice.finished_reason == FinishedReason::stop ||
         choice.finished_reason == FinishedReason::length;
}

}  // namespace

Buckets first_token_buckets() {
  return {.001, .005, .01, .02, .04, .06, .08, .1, .25, .5,  .75,
          1,    2.5,  5,   7.5, 10,  20,  40,  80, 160, 640, 2560};
}

Buckets next_token_buckets() {
  return {.0005, .001, .002, .005, .01, .025, .05, .075, .1, .15, .2, .3,
          .4,    .5,   .75,  1,    2.5, 5,    7.5, 10,   20, 40,  80};
}

VllmMetrics::VllmMetrics(prometheus::Registry& registry)
    : first_token_(histogram(registry, "vllm:time_to_first_token_seconds",
                             "Time from submission to a choice's first generated token")),
      next_token_(histogram(registry, "vllm:inter_token_latency_seconds",
                            "Time between two generated tokens of a choice")),
      finished_(prometheus::BuildCounter()
                    .Name("vllm:request_success_total")
                    .Help("Choices that ended, by finished_reason")
                    .Register(registry)) {
  for (const auto& spec : kByChoice) {
    by_choice_.push_back(&histogram(registry, spec.name, spec.help));
  }
  for (const auto& spec : kByRequest) {
    by_request_.push_back(&histogram(registry, spec.name, spec.help));
  }
  for (const auto& spec : kTotals) {
    totals_.push_back(
        &prometheus::BuildCounter().Name(spec.name).Help(spec.help).Register(registry));
  }
}

VllmMetrics::Model VllmMetrics::make(const std::string& name) {
  const std::map<std::string, std::string> labels = {{"model_name", name}};
  Model made;
  made.first_token = &first_token_.Add(labels, first_token_buckets());
  made.next_token = &next_token_.Add(labels, next_token_buckets());
  for (size_t i = 0; i < by_choice_.size(); ++i) {
    made.by_choice.push_back(&by_choice_[i]->Add(labels, kByChoice[i].buckets()));
  }
  for (size_t i = 0; i < by_request_.size(); ++i) {
    made.by_request.push_back(&by_request_[i]->Add(labels, kByRequest[i].buckets()));
  }
  for (auto* family : totals_) made.totals.push_back(&family->Add(labels));
  for (const FinishedReason reason : kReasons) {
    made.finished[reason] =
        &finished_.Add({{"model_name", name}, {"finished_reason", std::string(to_string(reason))}});
  }
  return made;
}

void VllmMetrics::finished(Model& model, const RequestRecord& record) {
  for (const ChoiceRecord& choice : record.choices) {
    model.finished.at(choice.finished_reason)->Increment();
    if (!ended_by_itself(choice)) continue;
    for (size_t i = 0; i < std::size(kByChoice); ++i) {
      if (const auto value = kByChoice[i].value(record, choice)) {
        model.by_choice[i]->Observe(*value);
      }
    }
  }
  for (size_t i = 0; i < std::size(kTotals); ++i) {
    model.totals[i]->Increment(static_cast<double>(kTotals[i].value(record)));
  }
  if (record.cancelled != Phase::none || record.choices.empty()) return;
  for (size_t i = 0; i < std::size(kByRequest); ++i) {
    model.by_request[i]->Observe(kByRequest[i].value(record));
  }
}

}  // namespace tristill::ops
