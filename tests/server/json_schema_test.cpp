// Every line of cases/json_schemas.jsonl: a schema with texts that its grammar takes and does not,
// or the path at which it is refused; and whatever is written under it is valid.
#include "server/openai/json_schema.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/random.h"
#include "model/engine/engine.h"
#include "model/grammar/grammar_state.h"
#include "server/openai/fields.h"
#include "tests/support/schema_validator.h"
#include "tests/support/test_model.h"

namespace tristill::openai {
namespace {

using json = nlohmann::ordered_json;

constexpr uint64_t kSeed = 17;

const std::vector<json>& cases() {
  static const auto read = [] {
    std::vector<json> lines;
    std::ifstream file(TRISTILL_SOURCE_DIR "/tests/server/cases/json_schemas.jsonl");
    for (std::string line; std::getline(file, line);) lines.push_back(json::parse(line));
    return lines;
  }();
  EXPECT_GT(read.size(), 90U);
  return read;
}

std::vector<json> accepted_schemas() {
  std::vector<json> schemas;
  for (const json& one : cases()) {
    if (one.contains("valid")) schemas.push_back(one["schema"]);
  }
  return schemas;
}

std::shared_ptr<const TokenTrie> tokens() {
  static const auto trie = std::make_shared<TokenTrie>(test::tiny_tokenizer());
  return trie;
}

std::shared_ptr<const Grammar> grammar_of(const json& schema) {
  auto grammar = read_json_schema(schema, "s");
  EXPECT_TRUE(grammar) << schema << ": " << (grammar ? "" : grammar.error().message);
  return grammar ? *grammar : any_json_object();
}

bool takes(const std::shared_ptr<const Grammar>& grammar, const std::string& text) {
  GrammarState state(grammar, tokens(), {});
  return state.accept(text) && state.may_end();
}

TEST(JsonSchema, TakesTheTextsThatItNamesAndNoOthers) {
  for (const json& one : cases()) {
    if (!one.contains("valid")) continue;
    const auto grammar = grammar_of(one["schema"]);
    const test::SchemaValidator validator(one["schema"]);
    for (const std::string text : one["valid"]) {
      EXPECT_TRUE(takes(grammar, text)) << one["schema"] << ' ' << text;
      EXPECT_TRUE(validator.matches(json::parse(text))) << one["schema"] << ' ' << text;
    }
    for (const std::string text : one["invalid"]) {
      EXPECT_FALSE(takes(grammar, text)) << one["schema"] << ' ' << text;
    }
  }
}

TEST(JsonSchema, RefusesByPathWhatItCannotKeep) {
  for (const json& one : cases()) {
    if (one.contains("valid")) continue;
    const auto grammar = read_json_schema(one["schema"], "s");
    ASSERT_FALSE(grammar) << one["schema"];
    EXPECT_EQ(grammar.error().code, ErrorCode::invalid_argument);
    EXPECT_EQ(grammar.error().param, one["refused"]) << one["schema"] << grammar.error().message;
    EXPECT_TRUE(grammar.error().message.starts_with(grammar.error().param))
        << grammar.error().message;
  }
}

// A text of allowed tokens, drawn evenly, and towards its end once it is long.
std::string drawn_text(const std::shared_ptr<const Grammar>& grammar, RandomStream& random) {
  GrammarState state(grammar, tokens(), {});
  std::string text;
  for (int step = 0; step < 20'000; ++step) {
    if (state.must_end() || (state.may_end() && random.below(4) == 0)) return text;
    std::vector<float> logits(tokens()->vocab_size(), 0.0F);
    EXPECT_TRUE(state.mask(logits)) << text;
    std::vector<TokenId> allowed, closing;
    for (size_t i = 0; i < logits.size(); ++i) {
      if (logits[i] != 0.0F) continue;
      const auto token = static_cast<TokenId>(i);
      const char first = tokens()->bytes_of(token)[0];
      allowed.push_back(token);
      if (first == '"' || first == ']' || first == '}') closing.push_back(token);
    }
    if (allowed.empty()) break;
    const bool close = !closing.empty() && random.below(step < 100 ? 10 : 2) == 0;
    const auto& from = close ? closing : allowed;
    const TokenId token = from[random.below(from.size())];
    EXPECT_TRUE(state.accept(token));
    text += tokens()->bytes_of(token);
  }
  ADD_FAILURE() << "no end: " << text.substr(0, 1000);
  return text;
}

TEST(JsonSchema, WhateverIsWrittenUnderItIsValid) {
  for (const json& schema : accepted_schemas()) {
    const auto grammar = grammar_of(schema);
    const test::SchemaValidator validator(schema);
    for (uint64_t round = 0; round < 40; ++round) {
      RandomStream random(kSeed, round);
      const std::string text = drawn_text(grammar, random);
      const json value = json::parse(text, nullptr, /*allow_exceptions=*/false);
      ASSERT_FALSE(value.is_discarded()) << "seed " << kSeed << ' ' << schema << ' ' << text;
      ASSERT_TRUE(validator.matches(value)) << "seed " << kSeed << ' ' << schema << ' ' << text;
    }
  }
}

// The whole way: a random model's engine at temperature 1, as fast ends as its biases allow.
TEST(JsonSchema, WhatARandomModelWritesUnderItIsValid) {
  const auto model =
      make_model("random", {.tensors = test::random_model({.n_layers = 1, .max_context = 2048}),
                            .tokenizer = test::tiny_tokenizer(),
                            .provenance = {}});
  engine::Engine engine(model, {.n_threads = 2, .max_sequences = 8});
  std::vector<std::pair<TokenId, float>> closing;
  for (const char c : {'"', ']', '}'}) {
    for (const TokenId token : model->tokenizer->encode({&c, 1})) closing.emplace_back(token, 4.0F);
  }
  const auto schemas = accepted_schemas();
  std::vector<engine::Generation> generations;
  for (size_t i = 0; i < schemas.size(); ++i) {
    engine::GenerationRequest request;
    request.prompt = model->tokenizer->encode("def f(self):");
    request.grammar = grammar_of(schemas[i]);
    request.max_tokens = 1500;
    request.sampling.seed = kSeed + i;
    request.sampling.logit_bias = closing;
    auto submitted = engine.submit(std::move(request));
    ASSERT_TRUE(submitted);
    generations.push_back(std::move(*submitted));
  }
  size_t n_whole = 0;
  for (size_t i = 0; i < schemas.size(); ++i) {
    std::vector<TokenId> ids;
    auto event = generations[i].next(std::chrono::seconds(60));
    for (; event && event->kind == engine::TokenEvent::Kind::token;
         event = generations[i].next(std::chrono::seconds(60))) {
      ids.push_back(event->token);
    }
    ASSERT_TRUE(event) << schemas[i];
    EXPECT_NE(event->finish, engine::FinishReason::error) << event->error;
    if (event->finish != engine::FinishReason::stop) continue;
    ++n_whole;
    const std::string text = model->tokenizer->decode(ids);
    const json value = json::parse(text, nullptr, /*allow_exceptions=*/false);
    ASSERT_FALSE(value.is_discarded()) << schemas[i] << ' ' << text;
    EXPECT_TRUE(test::SchemaValidator(schemas[i]).matches(value)) << schemas[i] << ' ' << text;
  }
  EXPECT_GT(n_whole, schemas.size() * 3 / 4);
}

json nested(int levels) {
  json schema = {{"type", "integer"}};
  for (int i = 0; i < levels; ++i) {
    schema = {{"type", "object"}, {"properties", {{"a", schema}}}, {"required", {"a"}}};
  }
  return schema;
}

TEST(JsonSchema, HostileSchemasAreRefusedOrSmall) {
  EXPECT_TRUE(read_json_schema(nested(20), "s"));
  EXPECT_FALSE(read_json_schema(nested(100), "s"));
  json huge = {{"enum", json::array()}};
  for (int i = 0; i < 15'000; ++i) huge["enum"].push_back("value number " + std::to_string(i));
  const auto of_many = grammar_of(huge);
  EXPECT_TRUE(takes(of_many, "\"value number 14999\""));
  EXPECT_FALSE(takes(of_many, "\"value number 15000\""));
  for (int i = 0; i < 10'000; ++i) huge["enum"].push_back(i);
  EXPECT_FALSE(read_json_schema(huge, "s"));

  // Twice as many at each of 25 references.
  for (const char* keyword : {"allOf", "anyOf"}) {
    json doubling = {{"$ref", "#/$defs/0"}};
    for (int i = 0; i < 25; ++i) {
      const std::string next = "#/$defs/" + std::to_string(i + 1);
      doubling["$defs"][std::to_string(i)][keyword] = {{{"$ref", next}, {"minLength", i}},
                                                       {{"$ref", next}, {"maxLength", 999 - i}}};
    }
    doubling["$defs"]["25"] = {{"type", "string"}};
    const auto grammar = read_json_schema(doubling, "s");
    if (keyword == std::string_view("allOf")) {
      ASSERT_TRUE(grammar) << grammar.error().message;  // all of them made one
      EXPECT_TRUE(takes(*grammar, '"' + std::string(975, 'a') + '"'));
      EXPECT_FALSE(takes(*grammar, '"' + std::string(976, 'a') + '"'));
    } else {
      ASSERT_FALSE(grammar);
      EXPECT_EQ(grammar.error().code, ErrorCode::invalid_argument);
    }
  }

  json apart = {{"oneOf", json::array()}};
  for (int i = 0; i < 300; ++i) apart["oneOf"].push_back({{"const", i}});
  EXPECT_TRUE(read_json_schema(apart, "s"));
  json cyclic = {{"oneOf", {{{"$ref", "#/$defs/a"}}, {{"$ref", "#/$defs/b"}}}}};
  for (const char* name : {"a", "b"}) {
    const json inner = {{"$ref", "#/$defs/a"}};
    cyclic["$defs"][name] = {
        {"type", "object"}, {"required", {"x", "y"}}, {"properties", {{"x", inner}, {"y", inner}}}};
  }
  EXPECT_FALSE(read_json_schema(cyclic, "s"));
}

TEST(JsonSchema, ManyPropertiesAreNoProblem) {
  json schema = {{"type", "object"}, {"properties", json::object()}};
  std::string text = "{";
  for (int i = 0; i < 1000; ++i) {
    const std::string name = "property_" + std::to_string(i);
    schema["properties"][name] = {{"type", "integer"}};
    if (i % 97 == 0) text += (text.size() > 1 ? ",\"" : "\"") + name + "\":" + std::to_string(i);
  }
  const auto grammar = grammar_of(schema);
  EXPECT_TRUE(takes(grammar, text + "}"));
  RandomStream random(kSeed, 0);
  const json value = json::parse(drawn_text(grammar, random), nullptr, /*allow_exceptions=*/false);
  EXPECT_TRUE(test::SchemaValidator(schema).matches(value));
}

TEST(JsonSchema, AnyObjectNests) {
  std::string deep;
  for (int i = 0; i < 200; ++i) deep += "{\"a\":[";
  std::string text = deep;
  for (int i = 0; i < 200; ++i) text += "]}";
  EXPECT_TRUE(takes(any_json_object(), text));
  EXPECT_FALSE(takes(any_json_object(), text + "]"));
}

}  // namespace
}  // namespace tristill::openai
