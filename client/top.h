// What a daemon is doing, computed from readings of its /v1/models, /slots and /metrics, and drawn
// for a terminal. Pure functions; the loop that reads is tristill top's (top.cpp).
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "client/metrics_text.h"

namespace tristill::client {

// One reading.
struct Reading {
  double seconds = 0;  // on any clock that does not jump
  nlohmann::json models;              // of /v1/models
  nlohmann::json slots;               // of /slots of all models; null where the daemon has none
  std::vector<Sample> samples;        // of /metrics
};

struct ModelLoad {
  std::string name;
  std::optional<uint64_t> context;
  std::optional<double> running, waiting;
  std::optional<double> cache_share;             // of the KV cache, 0 to 1
  std::optional<double> hit_share;               // of prompt tokens, found in the prefix cache
  std::optional<double> prefill_per_second, decode_per_second;  // tokens
};

struct Latency {
  std::string name;  // "first token"
  double count = 0;
  std::optional<double> p50, p99;  // seconds
  double resolution = 0;           // what is less is known as no more than that
};

struct SlotLoad {
  std::string name;  // its id, with the model's name where it has one
  std::optional<uint64_t> prompt_tokens, prompt_done, decoded, remaining;
};

struct Load {
  std::vector<ModelLoad> models;
  std::vector<Latency> latencies;
  size_t slots = 0;             // all
  std::vector<SlotLoad> busy;   // those that run
};

// Rates are between before and now, latencies between since and now; null: none, and latencies
// from the daemon's start.
Load load_of(const Reading& now, const Reading* before, const Reading* since);

nlohmann::json load_json(const Load& load);

// Lines of at most width columns, height of them at most.
std::string draw_load(const Load& load, const std::string& title, size_t width, size_t height);

}  // namespace tristill::client
