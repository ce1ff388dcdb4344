#include <algorithm>
#include <array>
#include <cmath>

#include "base/utf8.h"
#include "client/fields.h"
#include "client/output.h"
#include "client/top.h"

namespace tristill::client {
namespace {

using Json = nlohmann::json;

// The first of several names that the daemon has.
using Names = std::array<const char*, 2>;
constexpr Names kRunning = {"vllm:num_requests_running", "tristill_num_requests_running"};
constexpr Names kWaiting = {"vllm:num_requests_waiting", "tristill_num_requests_waiting"};
constexpr Names kCacheShare = {"vllm:kv_cache_usage_perc", "tristill_kv_cache_usage_ratio"};
constexpr Names kPromptTokens = {"vllm:prompt_tokens_total", "tristill_prompt_tokens_total"};
constexpr Names kGenerated = {"vllm:generation_tokens_total", "tristill_generation_tokens_total"};
constexpr Names kQueries = {"vllm:prefix_cache_queries_total", "tristill_prompt_tokens_total"};
constexpr Names kHits = {"vllm:prefix_cache_hits_total", "tristill_prefix_cache_hit_tokens"};

struct LatencyNames {
  const char* name;
  Names metrics;
};
constexpr std::array<LatencyNames, 4> kLatencies = {{
    {"queue", {"vllm:request_queue_time_seconds", "tristill_request_queue_time_seconds"}},
    {"first token", {"vllm:time_to_first_token_seconds", "tristill_time_to_first_token_seconds"}},
    {"next token", {"vllm:inter_token_latency_seconds", "tristill_inter_token_latency_seconds"}},
    {"whole request", {"vllm:e2e_request_latency_seconds", "tristill_e2e_request_latency_seconds"}},
}};

std::optional<double> value_of(const Reading& reading, const Names& names, const Labels& labels) {
  for (const char* name : names) {
    if (auto value = sum_of(reading.samples, name, labels)) return value;
  }
  return std::nullopt;
}

// Of a counter, a second; nothing after a restart.
std::optional<double> rate_of(const Reading& now, const Reading* before, const Names& names,
                              const Labels& labels) {
  if (before == nullptr || now.seconds <= before->seconds) return std::nullopt;
  const auto later = value_of(now, names, labels);
  const auto earlier = value_of(*before, names, labels);
  if (!later || *later < earlier.value_or(0)) return std::nullopt;
  return (*later - earlier.value_or(0)) / (now.seconds - before->seconds);
}

Histogram histogram_of_any(const Reading& reading, const Names& names) {
  for (const char* name : names) {
    Histogram histogram = histogram_of(reading.samples, name);
    if (!histogram.at_most.empty()) return histogram;
  }
  return {};
}

ModelLoad model_load(const Json& model, const Reading& now, const Reading* before) {
  ModelLoad load;
  load.name = text_of(model, "id");
  load.context = count_of(model, "max_model_len");
  const Labels labels = {{"model_name", load.name}};
  load.running = value_of(now, kRunning, labels);
  load.waiting = value_of(now, kWaiting, labels);
  load.cache_share = value_of(now, kCacheShare, labels);
  load.prefill_per_second = rate_of(now, before, kPromptTokens, labels);
  load.decode_per_second = rate_of(now, before, kGenerated, labels);
  const auto queries = value_of(now, kQueries, labels);
  const auto hits = value_of(now, kHits, labels);
  if (queries && hits && *queries > 0) load.hit_share = std::min(1.0, *hits / *queries);
  return load;
}

// llama.cpp's slot: next_token is a list of one object, in older answers the object itself.
SlotLoad slot_load(const Json& slot, size_t index) {
  SlotLoad load;
  load.name = std::to_string(count_of(slot, "id").value_or(index));
  if (const std::string model = text_of(slot, "model"); !model.empty()) {
    load.name = model + " " + load.name;
  }
  const Json& list = list_of(slot, "next_token");
  const Json& next = list.empty() ? field_of(slot, "next_token") : list.front();
  load.prompt_tokens = count_of(slot, "n_prompt_tokens");
  load.prompt_done = count_of(slot, "n_prompt_tokens_processed");
  load.decoded = count_of(next, "n_decoded");
  load.remaining = count_of(next, "n_remain");
  return load;
}

std::string count_text(const std::optional<uint64_t>& count) {
  return count ? std::to_string(*count) : "";
}
std::string number_text(const std::optional<double>& value) {
  return value ? format_count(*value) : "";
}
std::string share_text(const std::optional<double>& share) {
  if (!share || !std::isfinite(*share)) return "";
  return std::to_string(std::lround(std::clamp(*share, 0.0, 1.0) * 100)) + "%";
}

std::string quantile_text(const Latency& latency, const std::optional<double>& value) {
  if (!value) return "";
  if (*value <= latency.resolution) return "< " + format_latency(latency.resolution);
  return format_latency(*value);
}

std::string models_table(const Load& load) {
  std::vector<std::vector<std::string>> rows;
  for (const ModelLoad& model : load.models) {
    rows.push_back({model.name, count_text(model.context), number_text(model.running),
                    number_text(model.waiting), share_text(model.cache_share),
                    share_text(model.hit_share), number_text(model.prefill_per_second),
                    number_text(model.decode_per_second)});
  }
  if (rows.empty()) return "no models are served\n";
  return format_table(
      {"MODEL", "CONTEXT", "RUNNING", "WAITING", "CACHE", "HITS", "PREFILL/S", "DECODE/S"}, rows);
}

std::string latencies_table(const Load& load) {
  std::vector<std::vector<std::string>> rows;
  for (const Latency& latency : load.latencies) {
    rows.push_back({latency.name, quantile_text(latency, latency.p50),
                    quantile_text(latency, latency.p99), format_count(latency.count)});
  }
  return rows.empty() ? "" : "\n" + format_table({"LATENCY", "P50", "P99", "COUNT"}, rows);
}

std::string slots_table(const Load& load) {
  std::string out = "\n" + std::to_string(load.busy.size()) + " of " + std::to_string(load.slots) +
                    " slots are busy\n";
  std::vector<std::vector<std::string>> rows;
  for (const SlotLoad& slot : load.busy) {
    rows.push_back({slot.name, count_text(slot.prompt_done) + "/" + count_text(slot.prompt_tokens),
                    count_text(slot.decoded), count_text(slot.remaining)});
  }
  if (!rows.empty()) out += format_table({"SLOT", "PROMPT", "WRITTEN", "LEFT"}, rows);
  return out;
}

template <class T>
Json or_null(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

}  // namespace

Load load_of(const Reading& now, const Reading* before, const Reading* since) {
  Load load;
  for (const Json& model : list_of(now.models, "data")) {
    load.models.push_back(model_load(model, now, before));
  }
  for (const LatencyNames& names : kLatencies) {
    Histogram histogram = histogram_of_any(now, names.metrics);
    if (histogram.at_most.empty()) continue;
    if (since != nullptr) histogram = histogram - histogram_of_any(*since, names.metrics);
    load.latencies.push_back({.name = names.name,
                              .count = histogram.count(),
                              .p50 = quantile(histogram, 0.5),
                              .p99 = quantile(histogram, 0.99),
                              .resolution = histogram.at_most.begin()->first});
  }
  if (now.slots.is_array()) {
    load.slots = now.slots.size();
    for (size_t i = 0; i < now.slots.size(); ++i) {
      const Json& busy = field_of(now.slots[i], "is_processing");
      if (busy.is_boolean() && busy.get<bool>()) load.busy.push_back(slot_load(now.slots[i], i));
    }
  }
  return load;
}

Json load_json(const Load& load) {
  Json models = Json::array();
  for (const ModelLoad& model : load.models) {
    models.push_back({{"id", model.name},
                      {"context", or_null(model.context)},
                      {"running", or_null(model.running)},
                      {"waiting", or_null(model.waiting)},
                      {"cache_share", or_null(model.cache_share)},
                      {"hit_share", or_null(model.hit_share)},
                      {"prefill_tokens_per_second", or_null(model.prefill_per_second)},
                      {"decode_tokens_per_second", or_null(model.decode_per_second)}});
  }
  Json latencies = Json::array();
  for (const Latency& latency : load.latencies) {
    latencies.push_back({{"name", latency.name},
                         {"count", latency.count},
                         {"p50_seconds", or_null(latency.p50)},
                         {"p99_seconds", or_null(latency.p99)}});
  }
  Json busy = Json::array();
  for (const SlotLoad& slot : load.busy) {
    busy.push_back({{"slot", slot.name},
                    {"prompt_tokens", or_null(slot.prompt_tokens)},
                    {"prompt_tokens_done", or_null(slot.prompt_done)},
                    {"decoded", or_null(slot.decoded)},
                    {"remaining", or_null(slot.remaining)}});
  }
  return {{"models", models},
          {"latencies", latencies},
          {"slots", {{"total", load.slots}, {"busy", busy}}}};
}

std::string draw_load(const Load& load, const std::string& title, size_t width, size_t height) {
  const std::string whole = printable(title) + "\n\n" + models_table(load) + latencies_table(load) +
                            (load.slots > 0 ? slots_table(load) : "");
  std::string out;
  std::string_view rest = whole;
  for (size_t line = 0; line < height && !rest.empty(); ++line) {
    std::string text(rest.substr(0, rest.find('\n')));
    rest.remove_prefix(std::min(text.size() + 1, rest.size()));
    while (utf8_length(text) > width) {
      text.pop_back();
      text.resize(utf8_whole_prefix(text));
    }
    out += text + "\n";
  }
  return out;
}

}  // namespace tristill::client
