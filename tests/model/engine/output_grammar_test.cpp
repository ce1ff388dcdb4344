// Outputs keep to their grammar, end with it, and cost their neighbours nothing.
#include "model/engine/output_grammar.h"

#include <cctype>
#include <functional>

#include "tests/model/engine/story.h"

namespace tristill::engine {
namespace {

using Expr = GrammarBuilder::Expr;

std::string text_of(const Story& story) { return tiny_model()->tokenizer->decode(story.tokens()); }

std::shared_ptr<const Grammar> grammar_of(const std::function<Expr(GrammarBuilder&)>& write) {
  GrammarBuilder builder;
  const auto rule = builder.rule("text");
  builder.define(rule, write(builder));
  auto grammar = builder.build(rule);
  EXPECT_TRUE(grammar);
  return *grammar;
}

GenerationRequest request_with(std::shared_ptr<const Grammar> grammar, uint64_t seed = 5) {
  auto request = request_of(prompt_of(9), 40, seed);
  request.grammar = std::move(grammar);
  return request;
}

TEST(OutputGrammar, EveryOutputKeepsToIt) {
  Engine engine(tiny_model(), options());
  for (uint64_t seed = 0; seed < 30; ++seed) {
    auto request = request_with(words_in_brackets(), seed);
    if (seed % 3 == 0) request.sampling.temperature = 0.0F;
    if (seed % 3 == 1) request.sampling.logit_bias = {{']', 6.0F}};
    if (seed % 2 == 1) request.logprobs = 2;
    if (seed % 5 == 4) request.sampling.top_p = 0.3F;
    const Story story = read(submit(engine, request));
    const std::string text = text_of(story);
    size_t word = 0;
    for (size_t i = 1; i < text.size(); ++i) {
      word = std::islower(static_cast<unsigned char>(text[i])) != 0 ? word + 1 : 0;
      EXPECT_LE(word, 9U) << text;
      if (word == 0) {
        EXPECT_TRUE(text[i] == '|' || (text[i] == ']' && i + 1 == text.size())) << text;
        EXPECT_NE(std::islower(static_cast<unsigned char>(text[i - 1])), 0) << text;
      }
    }
    EXPECT_TRUE(text.starts_with("[")) << text;
    EXPECT_EQ(story.end.finish, text.ends_with("]") ? FinishReason::stop : FinishReason::length);
    if (seed % 3 == 1) {
      EXPECT_EQ(story.end.finish, FinishReason::stop);
    }
  }
}

TEST(OutputGrammar, LogprobsAreThoseOfTheModelAlone) {
  Engine engine(tiny_model(), options());
  auto request = request_with(nullptr);
  request.max_tokens = 1;
  request.logprobs = 20;
  const Story free = read(submit(engine, request));
  request.grammar = words_in_brackets();
  const Story kept = read(submit(engine, request));
  ASSERT_EQ(free.output.size(), 1U);
  ASSERT_EQ(kept.output.size(), 1U);
  for (size_t i = 0; i < 20; ++i) {
    EXPECT_EQ(kept.output[0].top_logprobs[i].token, free.output[0].top_logprobs[i].token);
    EXPECT_EQ(kept.output[0].top_logprobs[i].logprob, free.output[0].top_logprobs[i].logprob);
  }
}

TEST(OutputGrammar, TheOnlyTextComesWholeAndEnds) {
  Engine engine(tiny_model(), options());
  const auto grammar = grammar_of([](GrammarBuilder& b) { return b.literal("the, \"x\""); });
  for (const float temperature : {0.0F, 1.0F}) {
    for (const bool logprobs : {false, true}) {
      auto request = request_with(grammar);
      request.sampling.temperature = temperature;
      if (logprobs) request.logprobs = 0;
      const Story story = read(submit(engine, request));
      EXPECT_EQ(text_of(story), "the, \"x\"");
      EXPECT_EQ(story.end.finish, FinishReason::stop);
    }
  }
}

TEST(OutputGrammar, OfTheEmptyTextAloneGivesNothing) {
  Engine engine(tiny_model(), options());
  const Story story =
      read(submit(engine, request_with(grammar_of([](GrammarBuilder& b) { return b.empty(); }))));
  EXPECT_TRUE(story.output.empty());
  EXPECT_EQ(story.end.finish, FinishReason::stop);
}

TEST(OutputGrammar, AStopTokenEndsOnlyAWholeText) {
  Engine engine(tiny_model(), options());
  const auto grammar = grammar_of([](GrammarBuilder& b) {
    return b.sequence({b.literal("ab"), b.repeat(b.literal("cd"), 0, std::nullopt)});
  });
  auto request = request_with(grammar);
  request.stop_tokens = {'z'};
  request.sampling.logit_bias = {{'z', 100.0F}};
  const Story story = read(submit(engine, request));
  EXPECT_EQ(text_of(story), "ab");
  EXPECT_EQ(story.end.finish, FinishReason::stop);
}

std::shared_ptr<const Model> model_of(std::vector<std::string> tokens) {
  ModelConfig config = tiny_config();
  config.vocab_size = 32;
  return make_model("random", {.tensors = random_tensors(config, kSeed),
                               .tokenizer = std::make_shared<ListedTokens>(std::move(tokens)),
                               .provenance = {}});
}

TEST(OutputGrammar, WhatTheVocabularyCannotSpellIsAnError) {
  Engine engine(model_of({"a", "b"}), options());
  for (const char* text : {"ax", "ab"}) {
    auto request = request_of({1, 0, 1}, 8);
    request.grammar = grammar_of([&](GrammarBuilder& b) { return b.literal(text); });
    const Story story = read(submit(engine, request));
    const bool whole = std::string_view(text) == "ab";
    EXPECT_EQ(story.end.finish, whole ? FinishReason::stop : FinishReason::error);
    EXPECT_EQ(story.end.error.empty(), whole);
    EXPECT_EQ(story.tokens().size(), whole ? 2U : 1U);
  }
}

TEST(OutputGrammar, WhatIsTooDeepToFollowEndsItsOwnRequestAlone) {
  Engine engine(model_of({std::string(64, '['), "x", "]"}), options());
  GrammarBuilder b;
  const auto nested = b.rule("nested");
  b.define(nested, b.choice({b.literal("x"),
                             b.sequence({b.literal("["), b.call(nested), b.literal("]")})}));
  auto request = request_of({1, 0, 1}, 100);
  request.grammar = *b.build(nested);
  request.sampling.logit_bias = {{0, 100.0F}};
  auto generation = submit(engine, request);
  auto neighbour = submit(engine, request_of({1, 0, 1}, 100));
  const Story story = read(std::move(generation));
  EXPECT_EQ(story.end.finish, FinishReason::error);
  EXPECT_NE(story.end.error.find("nested deeper"), std::string::npos);
  EXPECT_EQ(read(std::move(neighbour)).end.finish, FinishReason::length);
}

TEST(OutputGrammar, NeedsATokenizer) {
  Engine engine(endless_model(), {.n_threads = 1});
  const auto refused = engine.submit(request_with(words_in_brackets()));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().param, "grammar");
}

}  // namespace
}  // namespace tristill::engine
