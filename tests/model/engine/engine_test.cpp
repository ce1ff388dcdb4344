// The engine as its callers see it: determinism, cancellation, limits, scores.
#include "model/engine/engine.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "model/kv_cache.h"
#include "tests/model/random_model.h"

namespace tristill::engine {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr uint64_t kSeed = 7;
constexpr seconds kPatience{60};  // a hang becomes a failure

std::shared_ptr<const Model> tiny_model() {
  static const auto model = random_model(tiny_config(), kSeed);
  return model;
}

// Room for a generation that outlasts every test; it is cancelled, not awaited.
constexpr uint32_t kEndless = 16000;
std::shared_ptr<const Model> endless_model() {
  ModelConfig config = tiny_config();
  config.max_context = 2 * kEndless;
  static const auto model = random_model(config, kSeed);
  return model;
}

EngineOptions options() { return {.n_threads = 1, .max_sequences = 4}; }

std::vector<TokenId> prompt_of(size_t n, TokenId first = 13) {
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

Story read(Generation generation) {
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

Generation submit(Engine& engine, GenerationRequest request) {
  auto generation = engine.submit(std::move(request));
  EXPECT_TRUE(generation.has_value());
  return std::move(*generation);
}

GenerationRequest request_of(std::vector<TokenId> prompt, uint32_t max_tokens, uint64_t seed = 5) {
  GenerationRequest request;
  request.prompt = std::move(prompt);
  request.sampling.seed = seed;
  request.max_tokens = max_tokens;
  return request;
}

// Tokens and the bits of all logprobs.
std::string fingerprint(const Story& story) {
  std::string bytes;
  const auto add = [&](const auto& value) {
    bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
  };
  for (const auto* events : {&story.prompt, &story.output}) {
    for (const auto& event : *events) {
      add(event.token);
      add(event.logprob);
      for (const auto& top : event.top_logprobs) {
        add(top.token);
        add(top.logprob);
      }
    }
  }
  return bytes;
}

GenerationRequest varied_request(size_t i) {
  auto request = request_of(prompt_of(1 + 6 * i, static_cast<TokenId>(i)), 4, 40 + i);
  request.logprobs = 3;
  request.prompt_logprobs = i % 2 == 0;
  if (i % 3 == 1) request.sampling.top_p = 0.8F;
  if (i % 3 == 2) request.sampling.repetition_penalty = 1.3F;
  return request;
}

std::vector<std::string> run_batch(const EngineOptions& engine_options, size_t n) {
  Engine engine(tiny_model(), engine_options);
  std::vector<Generation> generations;
  for (size_t i = 0; i < n; ++i) generations.push_back(submit(engine, varied_request(i)));
  std::vector<std::string> prints;
  for (auto& generation : generations) prints.push_back(fingerprint(read(std::move(generation))));
  return prints;
}

TEST(Engine, BatchesStepsThreadsAndInstructionSetsGiveTheSameBytes) {
  ASSERT_TRUE(kernels::force_isa("scalar"));
  std::vector<std::string> expected;
  {
    Engine engine(tiny_model(), {.n_threads = 1, .max_sequences = 1, .step_tokens = 256});
    for (size_t i = 0; i < 8; ++i) {
      expected.push_back(fingerprint(read(submit(engine, varied_request(i)))));
      ASSERT_GE(expected.back().size(), 4 * 32U);
    }
  }
  for (auto* const* isa = kernels::runnable(); *isa != nullptr; ++isa) {
    ASSERT_TRUE(kernels::force_isa((*isa)->isa));
    const bool slow = *isa == &kernels::kScalar;
    for (const uint32_t step_tokens : {1, 7, 64, 256}) {
      for (uint32_t n_threads = 1; n_threads <= 3; ++n_threads) {
        // Every size with one thread, some with more: three threads on two cores wait a lot.
        for (size_t n = slow ? 8 : 1; n <= 8; n += n_threads == 1 ? 1 : 7) {
          const auto prints = run_batch({.n_threads = n_threads,
                                         .max_sequences = static_cast<uint32_t>(n),
                                         .step_tokens = step_tokens},
                                        n);
          for (size_t i = 0; i < n; ++i) {
            EXPECT_EQ(prints[i], expected[i]) << (*isa)->isa << " step " << step_tokens
                                              << " threads " << n_threads << " batch " << n;
          }
        }
        if (slow) break;
      }
    }
  }
  kernels::force_isa("auto");
}

TEST(Engine, SeedsReproduceAndStreamsDiffer) {
  Engine engine(tiny_model(), options());
  const auto base = request_of(prompt_of(10), 16, 1);
  auto other = base;
  other.sampling.stream = 1;
  const auto first = read(submit(engine, base)).tokens();
  EXPECT_EQ(read(submit(engine, base)).tokens(), first);
  EXPECT_NE(read(submit(engine, other)).tokens(), first);
  EXPECT_NE(read(submit(engine, request_of(prompt_of(10), 16, 2))).tokens(), first);
}

TEST(Engine, ASecondSequenceStartsWhileTheFirstRuns) {
  Engine engine(endless_model(), options());
  Generation first = submit(engine, request_of(prompt_of(4), kEndless));
  ASSERT_TRUE(first.next(kPatience).has_value());
  EXPECT_EQ(read(submit(engine, request_of(prompt_of(4, 20), 3))).output.size(), 3U);
  uint32_t n_tokens = 0;
  while (first.next(milliseconds(0))) ++n_tokens;
  EXPECT_LT(n_tokens, kEndless);
  EXPECT_FALSE(first.finished());
}

TEST(Engine, LengthEndsAtMaxTokensAndAtTheContext) {
  Engine engine(tiny_model(), options());
  const Story story = read(submit(engine, request_of(prompt_of(10), 5)));
  EXPECT_EQ(story.output.size(), 5U);
  EXPECT_EQ(story.end.finish, FinishReason::length);
  const Story full = read(submit(engine, request_of(prompt_of(100), 1000)));
  EXPECT_EQ(full.output.size(), 28U);  // the context of 128
}

TEST(Engine, AStopTokenEndsWithoutBeingEmitted) {
  Engine engine(tiny_model(), options());
  auto request = request_of(prompt_of(10), 12);
  const auto all = read(submit(engine, request)).tokens();
  request.stop_tokens = {all[5]};
  const size_t at = static_cast<size_t>(std::find(all.begin(), all.end(), all[5]) - all.begin());
  const Story story = read(submit(engine, request));
  EXPECT_EQ(story.end.finish, FinishReason::stop);
  EXPECT_EQ(story.tokens(), std::vector<TokenId>(all.begin(), all.begin() + static_cast<long>(at)));
}

TEST(Engine, MaxTokensZeroOnlyScoresThePrompt) {
  Engine engine(tiny_model(), options());
  auto request = request_of(prompt_of(128), 0);
  request.prompt_logprobs = true;
  const Story story = read(submit(engine, request));
  EXPECT_TRUE(story.output.empty());
  EXPECT_EQ(story.end.finish, FinishReason::length);
  ASSERT_EQ(story.prompt.size(), 128U);
  EXPECT_FALSE(story.prompt[0].has_logprobs);
  EXPECT_TRUE(story.prompt[1].has_logprobs);
  request.prompt_logprobs = false;
  EXPECT_TRUE(read(submit(engine, request)).prompt.empty());
}

TEST(Engine, ScoringAGeneratedTextRepeatsItsLogprobs) {
  Engine engine(tiny_model(), options());
  auto request = request_of(prompt_of(20), 10);
  request.logprobs = 2;
  const Story generated = read(submit(engine, request));
  auto scored = request_of(request.prompt, 0);
  for (const TokenId token : generated.tokens()) scored.prompt.push_back(token);
  scored.prompt_logprobs = true;
  const Story score = read(submit(engine, scored));
  ASSERT_EQ(score.prompt.size(), 30U);
  for (size_t i = 0; i < 10; ++i) {
    EXPECT_EQ(score.prompt[20 + i].token, generated.output[i].token);
    EXPECT_EQ(score.prompt[20 + i].logprob, generated.output[i].logprob);
  }
}

TEST(Engine, TheChosenTokensLogprobIsTheFloatOfTheTopList) {
  Engine engine(tiny_model(), options());
  auto request = request_of(prompt_of(5), 10);
  request.sampling.temperature = 0.0F;
  request.logprobs = 5;
  for (const auto& event : read(submit(engine, request)).output) {
    ASSERT_EQ(event.top_logprobs.size(), 5U);
    EXPECT_EQ(event.top_logprobs[0].token, event.token);
    EXPECT_EQ(event.top_logprobs[0].logprob, event.logprob);
  }
  request.logprobs = 0;
  for (const auto& event : read(submit(engine, request)).output) {
    EXPECT_TRUE(event.has_logprobs);
    EXPECT_TRUE(event.top_logprobs.empty());
  }
}

TEST(Engine, ACancelledSequenceFreesItsCacheWithinOneStep) {
  Engine engine(endless_model(), options());
  Generation watcher = submit(engine, request_of(prompt_of(4), kEndless));
  auto doomed = std::make_unique<Generation>(submit(engine, request_of(prompt_of(200), kEndless)));
  ASSERT_TRUE(doomed->next(kPatience).has_value());
  doomed.reset();
  // The step after the published one may have begun before the cancellation; the one after that
  // has not.
  const uint64_t free_from = engine.stats().steps + 2;
  EngineStats stats = engine.stats();
  while (stats.steps < free_from) {
    ASSERT_TRUE(watcher.next(kPatience).has_value());  // one token a step
    stats = engine.stats();
  }
  EXPECT_EQ(stats.cancelled, 1U);
  EXPECT_EQ(stats.running, 1U);
  EXPECT_LE(stats.kv_tokens_used, 4 + stats.steps + kKvBlockTokens);
}

TEST(Engine, TheCacheIsEmptyWhenAllHaveEnded) {
  Engine engine(tiny_model(), options());
  for (int i = 0; i < 3; ++i) read(submit(engine, request_of(prompt_of(40), 20)));
  auto last = submit(engine, request_of(prompt_of(40), 2));
  read(std::move(last));
  while (!engine.idle()) std::this_thread::yield();
  EXPECT_EQ(engine.stats().kv_tokens_used, 0U);
  EXPECT_EQ(engine.stats().generated_tokens, 62U);
  EXPECT_EQ(engine.stats().prompt_tokens, 160U);
}

TEST(Engine, AFullQueueRefuses) {
  EngineOptions small = options();
  small.max_sequences = 1;
  small.max_queue = 2;
  Engine engine(tiny_model(), small);
  std::vector<Generation> live;
  bool refused = false;
  for (int i = 0; i < 400 && !refused; ++i) {
    auto generation = engine.submit(request_of(prompt_of(100), 28));
    if (generation) {
      live.push_back(std::move(*generation));
    } else {
      EXPECT_EQ(generation.error().code, ErrorCode::resource_exhausted);
      refused = true;
    }
  }
  EXPECT_TRUE(refused);
  EXPECT_GE(live.size(), 3U);
  for (auto& generation : live) {
    EXPECT_EQ(read(std::move(generation)).end.finish, FinishReason::length);
  }
}

TEST(Engine, APromptThatDoesNotFitIsRefusedByName) {
  Engine engine(tiny_model(), options());
  for (const auto& [prompt, max_tokens] :
       {std::pair{prompt_of(128), 1U}, std::pair{prompt_of(129), 0U},
        std::pair{std::vector<TokenId>{}, 1U}, std::pair{std::vector<TokenId>{300}, 1U},
        std::pair{std::vector<TokenId>{-1}, 1U}}) {
    const auto refused = engine.submit(request_of(prompt, max_tokens));
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code, ErrorCode::invalid_argument);
    EXPECT_EQ(refused.error().param, "prompt");
    EXPECT_EQ(refused.error().message.find("context_length") != std::string::npos,
              prompt.size() > 100);
  }
}

TEST(Engine, ASmallCacheQueuesInsteadOfFailing) {
  EngineOptions small = options();
  small.kv_cache_tokens = 64;
  Engine engine(tiny_model(), small);
  EXPECT_EQ(engine.max_context(), 64U);
  std::vector<Generation> live;
  for (TokenId i = 0; i < 6; ++i) live.push_back(submit(engine, request_of(prompt_of(30, i), 20)));
  for (auto& generation : live) EXPECT_EQ(read(std::move(generation)).output.size(), 20U);
}

TEST(Engine, DrainRefusesNewWorkAndFinishesTheOld) {
  Engine engine(tiny_model(), options());
  Generation old = submit(engine, request_of(prompt_of(10), 30));
  engine.drain();
  const auto refused = engine.submit(request_of(prompt_of(3), 1));
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::unavailable);
  EXPECT_EQ(read(std::move(old)).output.size(), 30U);
}

TEST(Engine, DestructionEndsWhatIsLeft) {
  std::optional<Generation> orphan;
  {
    Engine engine(tiny_model(), options());
    orphan = submit(engine, request_of(prompt_of(10), 110));
    ASSERT_TRUE(orphan->next(kPatience).has_value());
  }
  const Story story = read(std::move(*orphan));
  EXPECT_TRUE(story.end.finish == FinishReason::error || story.end.finish == FinishReason::length);
}

TEST(Engine, AModelWithoutFiniteLogitsFailsItsGenerationsAndLives) {
  auto tensors = random_tensors(tiny_config(), kSeed);
  for (float& gain : tensors.output_norm) gain = std::numeric_limits<float>::infinity();
  Engine engine(
      make_model("broken", {.tensors = std::move(tensors), .tokenizer = nullptr, .provenance = {}}),
      options());
  for (int i = 0; i < 2; ++i) {
    const Story story = read(submit(engine, request_of(prompt_of(5), 5)));
    EXPECT_EQ(story.end.finish, FinishReason::error);
    EXPECT_FALSE(story.end.error.empty());
  }
}

TEST(Engine, NextGivesNothingAtOnceAfterTheEnd) {
  Engine engine(tiny_model(), options());
  Generation generation = submit(engine, request_of(prompt_of(3), 1));
  while (!generation.finished()) generation.next(kPatience);
  EXPECT_FALSE(generation.next(kPatience).has_value());
}

}  // namespace
}  // namespace tristill::engine
