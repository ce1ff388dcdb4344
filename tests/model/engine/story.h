// What the engine's tests share: tiny models, requests, and everything that a generation says.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "model/engine/engine.h"
#include "model/grammar/grammar_builder.h"
#include "tests/model/listed_tokens.h"
#include "tests/model/random_model.h"

namespace tristill::engine {

constexpr uint64_t kSeed = 7;
constexpr std::chrono::seconds kPatience{60};  // a hang becomes a failure

inline std::shared_ptr<const Model> tiny_model() {
  static const auto model = make_model("random", {.tensors = random_tensors(tiny_config(), kSeed),
                                                  .tokenizer = byte_tokens(300),
                                                  .provenance = {}});
  return model;
}

// Words in brackets, one after the other: [a|bcd|ef]
inline std::shared_ptr<const Grammar> words_in_brackets() {
  GrammarBuilder b;
  const auto words = b.rule("words");
  const auto word = b.repeat(b.code_points({{'a', 'z'}}), 1, 9);
  const auto more = b.repeat(b.sequence({b.literal("|"), word}), 0, std::nullopt);
  b.define(words, b.sequence({b.literal("["), word, more, b.literal("]")}));
  auto grammar = b.build(words);
  EXPECT_TRUE(grammar);
  return *grammar;
}

// Room for a generation that outlasts every test; it is cancelled, not awaited.
constexpr uint32_t kEndless = 16000;
inline std::shared_ptr<const Model> endless_model() {
  ModelConfig config = tiny_config();
  config.max_context = 2 * kEndless;
  static const auto model = random_model(config, kSeed);
  return model;
}

inline EngineOptions options() { return {.n_threads = 1, .max_sequences = 4}; }

inline std::vector<TokenId> prompt_of(size_t n, TokenId first = 13) {
  std::vector<TokenId> tokens(n);
  for (size_t i = 0; i < n; ++i) {
    tokens[i] = static_cast<TokenId>((i * 97 + static_cast<size_t>(first)) % 300);
  }
  return tokens;
}

// Everything a generation says.
struct Story {
  std::vector<TokenEvent> prompt;
  std::vector<TokenEvent> output;
  TokenEvent end;

  std::vector<TokenId> tokens() const {
    std::vector<TokenId> ids;
    for (const auto& event : output) ids.push_back(event.token);
    return ids;
  }
};

inline Story read(Generation generation) {
  Story story;
  while (auto event = generation.next(kPatience)) {
    if (event->kind == TokenEvent::Kind::finish) {
      story.end = *event;
    } else {
      auto& events = event->kind == TokenEvent::Kind::token ? story.output : story.prompt;
      events.push_back(*event);
    }
  }
  EXPECT_TRUE(generation.finished());
  return story;
}

inline Generation submit(Engine& engine, GenerationRequest request) {
  auto generation = engine.submit(std::move(request));
  EXPECT_TRUE(generation.has_value());
  return std::move(*generation);
}

inline GenerationRequest request_of(std::vector<TokenId> prompt, uint32_t max_tokens,
                                    uint64_t seed = 5) {
  GenerationRequest request;
  request.prompt = std::move(prompt);
  request.sampling.seed = seed;
  request.max_tokens = max_tokens;
  return request;
}

// Once the engine has put away what ended.
inline EngineStats settled_stats(const Engine& engine) {
  while (!engine.idle()) std::this_thread::yield();
  return engine.stats();
}

}  // namespace tristill::engine
