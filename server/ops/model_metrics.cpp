#include "server/ops/model_metrics.h"

#include <algorithm>

namespace tristill::ops {
namespace {

void collect_engine(Scrape& scrape, const Scrape::Labels& model, const engine::EngineStats& stats) {
  const auto gauge = [&](const char* name, const char* help, double value) {
    const bool is_gone = stats.kv_tokens_total == 0;  // no engine of that name lives
    if (!is_gone) scrape.gauge(name, help, model, value);
  };
  const auto counter = [&](const char* name, const char* help, uint64_t value) {
    scrape.counter(name, help, model, static_cast<double>(value));
  };
  const double cache_tokens = stats.kv_tokens_total;
  const double used = stats.kv_tokens_used / std::max(cache_tokens, 1.0);
  gauge("tristill_num_requests_running", "Sequences being computed", stats.running);
  gauge("tristill_num_requests_waiting", "Sequences that wait", stats.waiting);
  gauge("tristill_kv_cache_usage_ratio", "Share of the KV cache in use", used);
  gauge("tristill_prefix_cache_tokens", "Tokens that the prefix cache holds",
        stats.kv_tokens_cached);
  gauge("vllm:num_requests_running", "Sequences being computed", stats.running);
  gauge("vllm:num_requests_waiting", "Sequences that wait", stats.waiting);
  gauge("vllm:kv_cache_usage_perc", "Share of the KV cache in use; 1 is all of it", used);
  counter("tristill_engine_steps_total", "Steps computed", stats.steps);
  counter("tristill_engine_cancelled_total", "Sequences whose reader left", stats.cancelled);
  counter("tristill_prefix_cache_hit_tokens_total", "Prompt tokens found in the prefix cache",
          stats.cached_prompt_tokens);
  counter("tristill_prefix_cache_evicted_blocks_total", "Blocks of the prefix cache given up",
          stats.evicted_blocks);
  counter("tristill_draft_tokens_accepted_total", "Guessed tokens that were right",
          stats.accepted_draft_tokens);
  counter("tristill_draft_tokens_rejected_total", "Guessed tokens that were wrong",
          stats.rejected_draft_tokens);
  counter("tristill_preemptions_total", "Sequences that gave up their place", stats.preempted);
  counter("vllm:num_preemptions_total", "Sequences that gave up their place", stats.preempted);
}

void collect_weights(Scrape& scrape, const models::ServedModel& served) {
  const Model& weights = *served.model;
  const Scrape::Labels model = {{"model_name", served.name}};
  scrape.gauge("tristill_model_weight_bytes", "Resident weights", model,
               static_cast<double>(weights.weight_bytes));
  const auto n_linear = static_cast<double>(count_parameters(weights.config).linear);
  scrape.gauge("tristill_model_bits_per_weight", "Resident bits a weight of the linear layers",
               model, 8 * static_cast<double>(weights.linear_bytes) / n_linear);
  const TernaryCensus& census = weights.census;
  if (census.weights() == 0) return;  // not ternary
  const auto share = [&](const char* value, uint64_t count) {
    scrape.gauge("tristill_model_ternary_share", "Share of the linear layers' weights by value",
                 {{"model_name", served.name}, {"value", value}},
                 static_cast<double>(count) / static_cast<double>(census.weights()));
  };
  share("-1", census.negative);
  share("0", census.zero);
  share("+1", census.positive);
  scrape.gauge("tristill_model_mean_scale", "Mean of the linear layers' scales (gamma)", model,
               census.mean_scale);
  scrape.gauge("tristill_model_dead_rows", "Rows of the linear layers that are all zero", model,
               static_cast<double>(census.dead_rows));
}

}  // namespace

void collect_models(Scrape& scrape, Metrics& metrics, const models::Registry& registry) {
  for (const models::ModelTotals& totals : registry.totals()) {
    collect_engine(scrape, {{"model_name", totals.name}}, totals.stats);
  }
  for (const auto& served : registry.list()) {
    metrics.model(served->name);
    collect_weights(scrape, *served);
  }
}

}  // namespace tristill::ops
