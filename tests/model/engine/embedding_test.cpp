// Embeddings: the mean of the states of a prompt, the same bits however it was computed.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <map>
#include <numeric>
#include <vector>

#include "model/engine/prompt_embedding.h"
#include "model/transformer.h"
#include "tests/model/engine/story.h"

namespace tristill::engine {
namespace {

GenerationRequest embed(std::vector<TokenId> prompt) {
  auto request = request_of(std::move(prompt), 0);
  request.embed = true;
  return request;
}

std::vector<float> embedding_of(Engine& engine, GenerationRequest request) {
  const Story story = read(submit(engine, std::move(request)));
  EXPECT_EQ(story.end.finish, FinishReason::length) << story.end.error;
  return story.end.embedding;
}

// All states at once, on the specification's kernels, and their mean.
const std::vector<float>& expected_of(const std::vector<TokenId>& prompt) {
  static std::map<std::vector<TokenId>, std::vector<float>> known;
  std::vector<float>& mean = known[prompt];
  if (!mean.empty()) return mean;
  EXPECT_TRUE(kernels::force_isa("scalar"));
  const auto model = random_model(tiny_config(), kSeed);
  KvCache cache(model->config, 8);
  ThreadTeam team(1);
  Transformer transformer(model, cache, team, model->config.max_context);
  std::vector<KvBlockId> blocks(8);
  for (auto& block : blocks) block = cache.acquire();
  const Segment segment[] = {{prompt, 0, blocks}};
  transformer.forward(segment);
  std::vector<uint32_t> rows(prompt.size());
  std::iota(rows.begin(), rows.end(), 0U);
  const auto states = transformer.states(rows);
  const size_t d = model->config.d_model;
  mean.resize(d);
  for (size_t i = 0; i < d; ++i) {
    double sum = 0;
    for (size_t t = 0; t < prompt.size(); ++t) sum += static_cast<double>(states[t * d + i]);
    mean[i] = static_cast<float>(sum / static_cast<double>(prompt.size()));
  }
  kernels::force_isa("auto");
  return mean;
}

TEST(PromptEmbedding, IsTheMeanOfAllPositionsHoweverTheyCome) {
  std::vector<float> states(7 * 3);
  for (size_t i = 0; i < states.size(); ++i) states[i] = 1.0F / static_cast<float>(i + 1);
  PromptEmbedding whole(3), parts(3);
  whole.add(states);
  parts.add(std::span(states).first(3));
  parts.add(std::span(states).subspan(3, 12));
  EXPECT_EQ(parts.n_positions(), 5U);
  parts.add(std::span(states).subspan(15));
  EXPECT_EQ(whole.mean(), parts.mean());
  EXPECT_FLOAT_EQ(whole.mean()[0],
                  (1 + 1 / 4.F + 1 / 7.F + 1 / 10.F + 1 / 13.F + 1 / 16.F + 1 / 19.F) / 7);
}

TEST(Embedding, IsTheMeanOfTheStatesOfThePrompt) {
  Engine engine(tiny_model(), options());
  const auto prompt = prompt_of(100);
  const Story story = read(submit(engine, embed(prompt)));
  EXPECT_TRUE(story.output.empty());
  EXPECT_EQ(story.end.embedding, expected_of(prompt));
  EXPECT_EQ(embedding_of(engine, embed({7})), expected_of({7}));
  EXPECT_TRUE(read(submit(engine, request_of(prompt, 0))).end.embedding.empty());
}

TEST(Embedding, IsTheSameOnEveryInstructionSetThreadCountAndSplit) {
  const auto prompt = prompt_of(90);
  const auto expected = expected_of(prompt);
  for (auto* const* isa = kernels::runnable(); *isa != nullptr; ++isa) {
    ASSERT_TRUE(kernels::force_isa((*isa)->isa));
    const bool slow = *isa == &kernels::kScalar;
    for (uint32_t n_threads = 1; n_threads <= (slow ? 1U : 3U); ++n_threads) {
      for (const uint32_t step_tokens : {1U, 7U, 64U, 512U}) {
        if (slow && step_tokens != 7) continue;
        auto split = options();
        split.n_threads = n_threads;
        split.step_tokens = step_tokens;
        Engine engine(tiny_model(), split);
        EXPECT_EQ(embedding_of(engine, embed(prompt)), expected)
            << (*isa)->isa << ", threads " << n_threads << ", step " << step_tokens;
      }
    }
  }
  kernels::force_isa("auto");
}

TEST(Embedding, IsTheSameBesideOthersAndWithAKnownBeginning) {
  Engine engine(tiny_model(), options());
  const auto prompt = prompt_of(100);
  const auto expected = expected_of(prompt);
  read(submit(engine, request_of(prompt, 20)));  // the prefix cache knows the prompt now
  std::vector<GenerationRequest> requests = {request_of(prompt, 20), embed(prompt),
                                             request_of(prompt_of(40, 3), 60), embed(prompt),
                                             embed(prompt_of(70, 5))};
  auto generations = engine.submit_all(std::move(requests));
  ASSERT_TRUE(generations);
  std::vector<Story> stories;
  for (auto& generation : *generations) stories.push_back(read(std::move(generation)));
  EXPECT_EQ(stories[1].end.embedding, expected);
  EXPECT_EQ(stories[3].end.embedding, expected);
  EXPECT_EQ(stories[4].end.embedding, expected_of(prompt_of(70, 5)));
  EXPECT_EQ(stories[1].end.cached_tokens, 0U);
}

TEST(Embedding, PublishesItsPromptForOthers) {
  Engine engine(tiny_model(), options());
  embedding_of(engine, embed(prompt_of(100)));
  EXPECT_EQ(read(submit(engine, request_of(prompt_of(100), 4))).end.cached_tokens, 96U);
}

// The one in front generates until the cache is full; the other is thrown out while it reads, one
// token a step, and begins again.
TEST(Embedding, GoesOnAfterAPreemption) {
  auto small = options();
  small.kv_cache_tokens = 16 * 8;
  small.step_tokens = 11;
  small.prefill_tokens = 1;
  small.draft_tokens = 0;
  Engine engine(tiny_model(), small);
  const auto prompt = prompt_of(62, 5);
  auto first = request_of(prompt_of(10), 110);
  first.priority = 1;
  first.sampling.temperature = 0.0F;
  auto generations = engine.submit_all({first, embed(prompt)});
  ASSERT_TRUE(generations);
  EXPECT_EQ(read(std::move((*generations)[0])).output.size(), 110U);
  EXPECT_EQ(read(std::move((*generations)[1])).end.embedding, expected_of(prompt));
  EXPECT_GT(settled_stats(engine).preempted, 0U);
}

TEST(Embedding, ComesBesideTheScoresOfThePrompt) {
  Engine engine(tiny_model(), options());
  auto request = embed(prompt_of(30));
  request.prompt_logprobs = true;
  const Story story = read(submit(engine, request));
  EXPECT_EQ(story.prompt.size(), 30U);
  EXPECT_EQ(story.end.embedding, expected_of(request.prompt));
}

TEST(Embedding, OutputIsRefused) {
  Engine engine(tiny_model(), options());
  auto request = embed(prompt_of(3));
  request.max_tokens = 1;
  const auto refused = engine.submit(request);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::invalid_argument);
  EXPECT_EQ(refused.error().param, "max_tokens");
}

TEST(Embedding, StatesThatAreNotFiniteAreAnError) {
  auto tensors = random_tensors(tiny_config(), kSeed);
  tensors.output_norm[3] = std::numeric_limits<float>::infinity();
  Engine engine(
      make_model("broken", {.tensors = std::move(tensors), .tokenizer = nullptr, .provenance = {}}),
      options());
  const Story story = read(submit(engine, embed(prompt_of(5))));
  EXPECT_EQ(story.end.finish, FinishReason::error);
  EXPECT_TRUE(story.end.embedding.empty());
}

}  // namespace
}  // namespace tristill::engine
