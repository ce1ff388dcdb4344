// The forward pass: against an independent one (golden numbers of tests/golden), and against
// itself in every split, thread count and instruction set, bit for bit.
#include "model/transformer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "model/portable_math.h"
#include "tests/model/random_model.h"

namespace tristill {
namespace {

constexpr uint64_t kSeed = 7;  // of tests/golden/forward_reference.py
constexpr uint32_t kBlocks = 32;

ModelConfig config_named(const std::string& name) {
  if (name == "tiny") return tiny_config();
  if (name == "window") return window_config();
  if (name == "four_bits") return four_bit_config();
  return name == "plain" ? plain_config() : int8_config();
}

std::vector<KvBlockId> acquire(KvCache& cache, size_t n_tokens) {
  std::vector<KvBlockId> blocks(kv_blocks_for(static_cast<uint32_t>(n_tokens)));
  for (auto& block : blocks) block = cache.acquire();
  return blocks;
}

// Logits of every token of one sequence, computed `chunk` tokens a call.
std::vector<float> logits_of(const std::shared_ptr<const Model>& model,
                             const std::vector<TokenId>& tokens, size_t chunk, uint32_t n_threads) {
  KvCache cache(model->config, kBlocks);
  ThreadTeam team(n_threads);
  Transformer transformer(model, cache, team, model->config.max_context);
  const auto blocks = acquire(cache, tokens.size());
  std::vector<float> all;
  for (size_t from = 0; from < tokens.size(); from += chunk) {
    const size_t n = std::min(chunk, tokens.size() - from);
    const Segment segment[] = {
        {std::span(tokens).subspan(from, n), static_cast<uint32_t>(from), blocks}};
    transformer.forward(segment);
    std::vector<uint32_t> rows(n);
    for (size_t i = 0; i < n; ++i) rows[i] = static_cast<uint32_t>(i);
    const auto logits = transformer.logits(rows);
    all.insert(all.end(), logits.begin(), logits.end());
  }
  return all;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

std::vector<TokenId> some_tokens(size_t n) {
  std::vector<TokenId> tokens(n);
  for (size_t i = 0; i < n; ++i) tokens[i] = static_cast<TokenId>((i * 97 + 13) % 300);
  return tokens;
}

TEST(Transformer, LogitsEqualTheIndependentForwardPass) {
  std::ifstream golden(TRISTILL_SOURCE_DIR "/tests/golden/forward.txt");
  std::string name;
  size_t n_tokens = 0, vocabulary = 0, n_models = 0;
  while (golden >> name >> n_tokens >> vocabulary) {
    ++n_models;
    std::vector<TokenId> tokens(n_tokens);
    for (auto& token : tokens) golden >> token;
    const auto logits = logits_of(random_model(config_named(name), kSeed), tokens, n_tokens, 1);
    ASSERT_EQ(logits.size(), n_tokens * vocabulary) << name;
    for (size_t t = 0; t < n_tokens; ++t) {
      double error = 0, norm = 0;
      for (size_t v = 0; v < vocabulary; ++v) {
        double expected = 0;
        ASSERT_TRUE(golden >> expected);
        const double difference = static_cast<double>(logits[t * vocabulary + v]) - expected;
        error += difference * difference;
        norm += expected * expected;
      }
      EXPECT_GT(norm, 1.0) << name;
      EXPECT_LT(std::sqrt(error / norm), 1e-3) << name << ", token " << t;
    }
  }
  EXPECT_EQ(n_models, 5U);
}

// Rounded to int8 and multiplied with the head's rows they are the logits.
TEST(Transformer, StatesAreWhatTheOutputHeadIsGiven) {
  const ModelConfig config = tiny_config();  // without a cap; the head is the embedding
  const auto model = random_model(config, kSeed);
  const IntegerMatrix head = random_tensors(config, kSeed).embedding;
  const auto tokens = some_tokens(20);
  KvCache cache(config, kBlocks);
  ThreadTeam team(2);
  Transformer transformer(model, cache, team, config.max_context);
  const auto blocks = acquire(cache, tokens.size());
  const Segment segment[] = {{tokens, 0, blocks}};
  transformer.forward(segment);
  const uint32_t rows[] = {19, 0, 7};
  const auto span = transformer.states(rows);
  const std::vector<float> states(span.begin(), span.end());
  const size_t d = config.d_model;
  ASSERT_EQ(states.size(), 3 * d);
  std::vector<int8_t> q(states.size());
  float scale[3];
  int32_t sum[3];
  kernels::kScalar.quantize_tokens(states.data(), 3, d, 127.0F, q.data(), scale, sum);
  const auto logits = transformer.logits(rows);
  for (size_t i = 0; i < 3; ++i) {
    for (size_t v = 0; v < config.vocab_size; ++v) {
      int32_t product = 0;
      for (size_t c = 0; c < d; ++c) product += q[i * d + c] * head.values[v * d + c];
      ASSERT_EQ(logits[i * config.vocab_size + v],
                static_cast<float>(product) * (head.scale[v] * scale[i]))
          << "row " << rows[i] << ", token " << v;
    }
  }
}

std::shared_ptr<const Model> biased_model(const ModelConfig& config) {
  ModelTensors tensors = random_tensors(config, kSeed);
  add_biases(tensors, kSeed + 1);
  return make_model("biased", {.tensors = tensors, .tokenizer = nullptr, .provenance = {}});
}

// Of each of a block's seven matrices, by itself; an old file's fingerprint stays.
TEST(Transformer, EveryBiasCounts) {
  const auto tokens = some_tokens(9);
  ModelTensors all = random_tensors(plain_config(), kSeed);
  add_biases(all, kSeed + 1);
  const auto none = random_model(plain_config(), kSeed);
  const auto expected = logits_of(none, tokens, tokens.size(), 1);
  size_t i = 0;
  for (IntegerMatrix LayerTensors::* const matrix :
       {&LayerTensors::q, &LayerTensors::k, &LayerTensors::v, &LayerTensors::o, &LayerTensors::gate,
        &LayerTensors::up, &LayerTensors::down}) {
    ModelTensors one = random_tensors(plain_config(), kSeed);
    (one.layers[1].*matrix).bias = (all.layers[1].*matrix).bias;
    const auto model = make_model("one", {.tensors = one, .tokenizer = nullptr, .provenance = {}});
    EXPECT_FALSE(same_bits(expected, logits_of(model, tokens, tokens.size(), 1))) << i;
    EXPECT_NE(model->fingerprint, none->fingerprint) << i;
    EXPECT_GT(model->weight_bytes, none->weight_bytes) << i;
    ++i;
  }
}

TEST(Transformer, SplitsThreadsAndInstructionSetsGiveTheSameBits) {
  const auto tokens = some_tokens(70);
  for (const char* name : {"tiny", "plain", "int8", "window", "four_bits", "biased"}) {
    const bool biased = name == std::string("biased");
    const auto model =
        biased ? biased_model(config_named("plain")) : random_model(config_named(name), kSeed);
    ASSERT_TRUE(kernels::force_isa("scalar"));
    const auto expected = logits_of(model, tokens, tokens.size(), 1);
    for (auto* const* isa = kernels::runnable(); *isa != nullptr; ++isa) {
      ASSERT_TRUE(kernels::force_isa((*isa)->isa));
      const bool slow = *isa == &kernels::kScalar;
      for (const size_t chunk : slow ? std::vector<size_t>{7} : std::vector<size_t>{1, 7, 16, 70}) {
        for (const uint32_t n_threads : {1, 2, 3}) {
          EXPECT_TRUE(same_bits(expected, logits_of(model, tokens, chunk, n_threads)))
              << name << " " << (*isa)->isa << " chunk " << chunk << " threads " << n_threads;
        }
      }
    }
    kernels::force_isa("auto");
  }
}

TEST(Transformer, AWindowHidesWhatLiesBeforeIt) {
  ModelConfig config = tiny_config();
  config.n_layers = 1;
  config.sliding_window = 20;
  const auto model = random_model(config, kSeed);
  auto tokens = some_tokens(60);
  const auto before = logits_of(model, tokens, 60, 2);
  tokens[10] = 299;
  const auto after = logits_of(model, tokens, 60, 2);
  const size_t vocabulary = config.vocab_size;
  const auto same = [&](size_t t) {
    return std::memcmp(before.data() + t * vocabulary, after.data() + t * vocabulary,
                       vocabulary * sizeof(float)) == 0;
  };
  for (size_t t = 0; t < 60; ++t) EXPECT_EQ(same(t), t < 10 || t >= 30) << t;
}

TEST(Transformer, ALaterTokenNeverChangesEarlierLogits) {
  const auto model = random_model(tiny_config(), kSeed);
  auto tokens = some_tokens(40);
  const auto before = logits_of(model, tokens, 40, 2);
  tokens[25] = 299;
  const auto after = logits_of(model, tokens, 40, 2);
  const size_t vocabulary = model->config.vocab_size;
  EXPECT_EQ(0, std::memcmp(before.data(), after.data(), 25 * vocabulary * sizeof(float)));
  EXPECT_NE(0, std::memcmp(before.data() + 25 * vocabulary, after.data() + 25 * vocabulary,
                           vocabulary * sizeof(float)));
}

TEST(Transformer, ManySequencesInOneBatchEqualEachAlone) {
  const auto model = random_model(tiny_config(), kSeed);
  KvCache cache(model->config, kBlocks);
  ThreadTeam team(2);
  Transformer transformer(model, cache, team, 128);
  const size_t vocabulary = model->config.vocab_size;
  for (size_t n_sequences = 1; n_sequences <= 8; ++n_sequences) {
    std::vector<std::vector<TokenId>> tokens;
    std::vector<std::vector<KvBlockId>> blocks;
    std::vector<Segment> batch;
    std::vector<uint32_t> last;
    uint32_t row = 0;
    for (size_t s = 0; s < n_sequences; ++s) {
      tokens.push_back(some_tokens(3 + 5 * s));
      tokens.back()[0] = static_cast<TokenId>(s);
      blocks.push_back(acquire(cache, tokens.back().size()));
    }
    for (size_t s = 0; s < n_sequences; ++s) {
      batch.push_back({tokens[s], 0, blocks[s]});
      row += static_cast<uint32_t>(tokens[s].size());
      last.push_back(row - 1);
    }
    transformer.forward(batch);
    const auto logits = transformer.logits(last);
    const std::vector<float> together(logits.begin(), logits.end());
    for (size_t s = 0; s < n_sequences; ++s) {
      const auto alone = logits_of(model, tokens[s], 64, 1);
      EXPECT_EQ(
          0, std::memcmp(together.data() + s * vocabulary, alone.data() + alone.size() - vocabulary,
                         vocabulary * sizeof(float)))
          << s << " of " << n_sequences;
      for (const KvBlockId block : blocks[s]) cache.release(block);
    }
  }
}

TEST(Rope, RotatesToReferenceVectorT11) {
  RopeTable rope(1e6F, 4);
  rope.extend(8);
  float x[] = {1, 2, 3, 4};
  rope.rotate(x, 3);
  const float expected[] = {-1.4133525F, 1.9879911F, -2.8288574F, 4.0059819F};
  for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(x[i], expected[i], 2e-6F) << i;
}

TEST(SoftCap, GivesReferenceVectorT12) {
  std::vector<float> x = {40.0F, -40.0F, 0.0F};
  soft_cap(x, 50.0F);
  EXPECT_NEAR(x[0], 33.2018385F, 2e-5F);
  EXPECT_NEAR(x[1], -33.2018385F, 2e-5F);
  EXPECT_EQ(x[2], 0.0F);
  std::vector<float> y(300, 45.0F);
  soft_cap(y, 30.0F);
  for (const float value : y) EXPECT_NEAR(value, 27.1544476F, 2e-5F);
}

TEST(PortableMath, AgreesWithTheCLibrary) {
  for (double x = -100; x < 100; x += 0.37) {
    EXPECT_NEAR(portable_exp(x) / std::exp(x), 1.0, 1e-15) << x;
    EXPECT_NEAR(portable_log(std::exp(x)), std::log(std::exp(x)), 2e-14) << x;
  }
  EXPECT_EQ(portable_log(1.0), 0.0);
  for (double x = 0; x < 300000; x += 11.7) {
    EXPECT_NEAR(portable_sin_cos(x).sine, std::sin(x), 1e-15) << x;
    EXPECT_NEAR(portable_sin_cos(x).cosine, std::cos(x), 1e-15) << x;
  }
}

}  // namespace
}  // namespace tristill
