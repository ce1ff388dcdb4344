// The engine as its callers see it: determinism, cancellation, limits, scores.
#include "model/engine/engine.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "tests/model/engine/story.h"
#include "tests/support/test_model.h"

namespace tristill::engine {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

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

// Greedy and drawn, alone and with the text that would come without min_tokens as its drafts.
TEST(Engine, NoStopTokenIsChosenBeforeMinTokens) {
  Engine engine(tiny_model(), options());
  for (const float temperature : {0.0F, 0.8F}) {
    auto request = request_of(prompt_of(10), 40);
    request.sampling.temperature = temperature;
    const auto free = read(submit(engine, request)).tokens();
    request.stop_tokens = {free[0], free[3], free[7]};
    EXPECT_TRUE(read(submit(engine, request)).output.empty());
    // What comes when they can never be chosen.
    auto never = request;
    for (const TokenId token : request.stop_tokens) {
      never.sampling.logit_bias.emplace_back(token, -1e30F);
    }
    const auto others = read(submit(engine, never)).tokens();
    for (const bool predicts : {false, true}) {
      request.prediction = predicts ? free : std::vector<TokenId>{};
      request.min_tokens = 25;
      const Story story = read(submit(engine, request));
      const auto tokens = story.tokens();
      ASSERT_GE(tokens.size(), 25U);
      EXPECT_TRUE(std::equal(tokens.begin(), tokens.begin() + 25, others.begin()));
      request.prediction = others;  // of which all comes true, until a stop token may come
      EXPECT_EQ(read(submit(engine, request)).tokens(), tokens);
      request.min_tokens = 1000;
      const Story longest = read(submit(engine, request));
      EXPECT_EQ(longest.tokens(), others);
      EXPECT_EQ(longest.end.finish, FinishReason::length);
    }
  }
}

TEST(Engine, EosIsAStopTokenUnlessItIsIgnored) {
  const auto tokenizer = test::tiny_tokenizer();
  const TokenId eos = tokenizer->special().eos;
  ModelConfig config = tiny_config();
  config.vocab_size = static_cast<uint32_t>(tokenizer->vocab_size());
  Engine engine(make_model("ends", {.tensors = random_tensors(config, kSeed),
                                    .tokenizer = tokenizer,
                                    .provenance = {}}),
                options());
  auto request = request_of(prompt_of(5), 12);
  request.sampling.logit_bias = {{eos, 1e30F}};
  EXPECT_EQ(read(submit(engine, request)).end.finish, FinishReason::stop);
  request.min_tokens = 7;
  const Story story = read(submit(engine, request));
  EXPECT_EQ(story.output.size(), 7U);
  EXPECT_EQ(story.end.finish, FinishReason::stop);
  request.ignore_eos = true;
  EXPECT_EQ(read(submit(engine, request)).tokens(), std::vector<TokenId>(12, eos));
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

TEST(Engine, TheFinishNamesTheStopTokenWithItsLogprob) {
  Engine engine(tiny_model(), options());
  auto request = request_of(prompt_of(5), 10);
  request.logprobs = 2;
  const Story whole = read(submit(engine, request));
  ASSERT_EQ(whole.output.size(), 10U);
  EXPECT_EQ(whole.end.token, kNoToken);
  EXPECT_FALSE(whole.end.has_logprobs);
  request.stop_tokens = {whole.output[9].token};
  const Story story = read(submit(engine, request));
  ASSERT_LT(story.output.size(), 10U);
  const TokenEvent& same = whole.output[story.output.size()];
  EXPECT_EQ(story.end.finish, FinishReason::stop);
  EXPECT_EQ(story.end.token, same.token);
  EXPECT_TRUE(story.end.has_logprobs);
  EXPECT_EQ(story.end.logprob, same.logprob);
  EXPECT_EQ(story.end.top_logprobs.size(), 2U);
}

TEST(Engine, TokensThatAreListedAndTheOthersSumToOne) {
  Engine engine(tiny_model(), options());
  auto request = request_of(prompt_of(12), 12);
  request.logprobs = 3;
  request.prompt_logprobs = true;
  request.other_logprobs = true;
  const Story story = read(submit(engine, request));
  EXPECT_EQ(story.prompt[0].other_logprob, 0.0F);  // no logits lead to the first token
  std::vector<TokenEvent> scored(story.prompt.begin() + 1, story.prompt.end());
  scored.insert(scored.end(), story.output.begin(), story.output.end());
  ASSERT_EQ(scored.size(), 23U);
  for (const auto& event : scored) {
    const auto listed = std::ranges::find(event.top_logprobs, event.token, &TokenLogprob::token);
    double sum = std::exp(static_cast<double>(event.other_logprob));
    if (listed == event.top_logprobs.end()) sum += std::exp(static_cast<double>(event.logprob));
    for (const auto& top : event.top_logprobs) sum += std::exp(static_cast<double>(top.logprob));
    EXPECT_NEAR(sum, 1.0, 1e-6);
  }
  request.other_logprobs = false;
  for (const auto& event : read(submit(engine, request)).output) {
    EXPECT_EQ(event.other_logprob, 0.0F);
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

TEST(Engine, AStepThatNobodyWaitsForStopsInItsMiddle) {
  EngineOptions one = options();
  one.team = std::make_shared<ThreadTeam>(1);
  Engine engine(tiny_model(), one);
  read(submit(engine, request_of(prompt_of(2), 1)));  // it has warmed up
  const EngineStats before = settled_stats(engine);
  auto request = request_of(prompt_of(100), 4);
  request.prompt_logprobs = true;  // the first event tells that it has its place
  {
    const ThreadTeam::Turn turn(*one.team);  // the engine computes nothing meanwhile
    Generation doomed = submit(engine, request);
    ASSERT_TRUE(doomed.next(kPatience).has_value());
  }
  const EngineStats after = settled_stats(engine);
  EXPECT_EQ(after.cancelled, before.cancelled + 1);
  EXPECT_EQ(after.prompt_tokens, before.prompt_tokens);
  EXPECT_EQ(after.kv_tokens_used, 0U);
  // What comes next is as if it had not been.
  const Story story = read(submit(engine, request));
  EXPECT_EQ(story.output.size(), 4U);
}

TEST(Engine, TheCacheIsEmptyWhenAllHaveEnded) {
  Engine engine(tiny_model(), options());
  for (int i = 0; i < 3; ++i) read(submit(engine, request_of(prompt_of(40), 20)));
  auto last = submit(engine, request_of(prompt_of(40), 2));
  read(std::move(last));
  while (!engine.idle()) std::this_thread::yield();
  EXPECT_EQ(settled_stats(engine).kv_tokens_used, 0U);
  EXPECT_EQ(settled_stats(engine).generated_tokens, 62U);
  // The prompt was computed once; then only its last token, which gives the logits.
  EXPECT_EQ(settled_stats(engine).prompt_tokens, 43U);
  EXPECT_EQ(settled_stats(engine).cached_prompt_tokens, 117U);
}

TEST(Engine, AFullQueueRefusesAllOfARequestOrNothing) {
  EngineOptions small = options();
  small.max_sequences = 1;
  small.max_queue = 2;
  small.team = std::make_shared<ThreadTeam>(1);
  Engine engine(tiny_model(), small);
  const GenerationRequest request = request_of(prompt_of(100), 28);
  const auto submit_n = [&](size_t n) {
    return engine.submit_all(std::vector<GenerationRequest>(n, request));
  };
  std::vector<Generation> live;
  {
    const ThreadTeam::Turn turn(*small.team);  // the engine computes nothing meanwhile
    EXPECT_EQ(submit_n(4).error().code, ErrorCode::invalid_argument);
    EXPECT_EQ(submit_n(4).error().param, "n");
    live.push_back(submit(engine, request));
    EXPECT_EQ(submit_n(3).error().code, ErrorCode::resource_exhausted);
    auto two = submit_n(2);
    ASSERT_TRUE(two) << two.error().message;
    std::ranges::move(*two, std::back_inserter(live));
    EXPECT_EQ(engine.submit(request).error().code, ErrorCode::resource_exhausted);
  }
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

TEST(Engine, AnEditedTextIsComputedFromTheEditOn) {
  Engine engine(tiny_model(), options());
  auto text = prompt_of(100);
  read(submit(engine, request_of(text, 1)));
  text[90] = 299;
  const auto story = read(submit(engine, request_of(text, 1)));
  EXPECT_EQ(story.end.cached_tokens, 90U);
  EXPECT_EQ(settled_stats(engine).prompt_tokens, 110U);
}

TEST(Engine, ChoicesOfOnePromptComputeItOnce) {
  Engine engine(tiny_model(), options());
  std::vector<Generation> choices;
  for (uint64_t i = 0; i < 4; ++i) {
    auto request = request_of(prompt_of(70), 8);
    request.sampling.stream = i;
    choices.push_back(submit(engine, std::move(request)));
  }
  for (auto& choice : choices) EXPECT_EQ(read(std::move(choice)).output.size(), 8U);
  EXPECT_LE(settled_stats(engine).prompt_tokens,
            70U + 3U * 6U);  // at most what follows a whole block
  EXPECT_GE(settled_stats(engine).cached_prompt_tokens, 3U * 64U);
}

TEST(Engine, APredictionThatIsRightSavesSteps) {
  Engine engine(tiny_model(), options());
  auto request = request_of(prompt_of(10), 60);
  request.sampling.temperature = 0.9F;
  const auto plain = read(submit(engine, request));
  const uint64_t steps = settled_stats(engine).steps;
  request.prediction = plain.tokens();
  const auto predicted = read(submit(engine, request));
  EXPECT_EQ(predicted.tokens(), plain.tokens());
  EXPECT_EQ(predicted.end.accepted_drafts + predicted.end.rejected_drafts,
            predicted.end.accepted_drafts);
  EXPECT_GE(predicted.end.accepted_drafts, 50U);
  EXPECT_LE(settled_stats(engine).steps - steps, 10U);
}

// Three texts of 100 tokens in a cache of 160: with a window of 20 there is room for all of them.
TEST(Engine, BlocksThatAWindowHidesAreLetGo) {
  for (const uint32_t window : {0U, 20U}) {
    ModelConfig config = tiny_config();
    config.sliding_window = window;
    const auto model = random_model(config, kSeed);
    EngineOptions roomy = options();
    roomy.prefix_cache = false;
    EngineOptions small = roomy;
    small.kv_cache_tokens = 160;
    Engine alone(model, roomy);
    const auto expected = read(submit(alone, request_of(prompt_of(10), 90))).tokens();
    ASSERT_EQ(expected.size(), 90U);
    Engine engine(model, small);
    auto live = engine.submit_all(std::vector(3, request_of(prompt_of(10), 90)));
    ASSERT_TRUE(live);
    for (auto& generation : *live) EXPECT_EQ(read(std::move(generation)).tokens(), expected);
    EXPECT_EQ(settled_stats(engine).preempted > 0, window == 0);
    EXPECT_EQ(settled_stats(engine).kv_tokens_used, 0U);
  }
}

TEST(Engine, ADeadlineEndsWithWhatIsThere) {
  Engine engine(endless_model(), options());
  auto request = request_of(prompt_of(4), kEndless);
  request.deadline = std::chrono::steady_clock::now() + milliseconds(50);
  const auto story = read(submit(engine, request));
  EXPECT_EQ(story.end.finish, FinishReason::deadline);
  EXPECT_LT(story.output.size(), kEndless);
}

TEST(Engine, ADeadlineThatPassesInTheQueueIsAnError) {
  EngineOptions one = options();
  one.max_sequences = 1;
  Engine engine(endless_model(), one);
  Generation first = submit(engine, request_of(prompt_of(4), kEndless));
  ASSERT_TRUE(first.next(kPatience).has_value());
  auto request = request_of(prompt_of(4), 4);
  request.deadline = std::chrono::steady_clock::now();
  const auto story = read(submit(engine, request));
  EXPECT_EQ(story.end.finish, FinishReason::error);
  EXPECT_NE(story.end.error.find("deadline"), std::string::npos);
}

}  // namespace
}  // namespace tristill::engine
