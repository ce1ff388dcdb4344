// The backend on the GPU against the one on the CPU, bit for bit: logits, choices, the cache's
// bytes. Built twice: as cuda_test for a real GPU, skipping itself where there is none, and as
// cuda_emulated_test, where the same sources run on the CPU (tests/support/cuda_emulator).
#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "model/backend.h"
#include "model/logprobs.h"
#include "tests/model/engine/story.h"
#include "tests/model/random_model.h"

namespace tristill {
namespace {

constexpr uint32_t kBlocks = 24;
constexpr uint32_t kContext = 128;

// The model named, packed for the GPU: two bits a ternary weight.
std::shared_ptr<const Model> model_named(const std::string& name) {
  ModelConfig config = tiny_config();
  PackingOptions packing{.ternary = PackingOptions::Ternary::two_bit};
  if (name == "plain" || name == "biased") config = plain_config();
  if (name == "int8") config = int8_config();
  if (name == "grouped") {  // more queries of a key than a block takes at once
    config.n_heads = 32;
    config.n_kv_heads = 2;
    config.head_dim = 24;
    config.d_ff = 768;
  }
  if (name == "window") config.sliding_window = 21;
  if (name == "four_bits") config = four_bit_config();
  if (name == "int4head") packing.head = PackingOptions::Head::int4;
  ModelTensors tensors = random_tensors(config, 7);
  if (name == "biased") add_biases(tensors, 8);
  return make_model(name, {.tensors = std::move(tensors), .tokenizer = nullptr, .provenance = {}},
                    packing);
}

class CudaBackendTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (auto there = check_device(Device::cuda); !there) GTEST_SKIP() << there.error().message;
  }
};

// A backend with a cache of its own; every sequence holds the blocks that its name leads to.
struct Machine {
  Machine(Device device, const std::shared_ptr<const Model>& model, KvFormat format)
      : cache(model->config, kBlocks, format),
        team(1),
        backend(make_backend(device, model, cache, team, kContext)) {
    for (uint32_t i = 0; i < kBlocks; ++i) cache.acquire();
  }
  KvCache cache;
  ThreadTeam team;
  std::unique_ptr<Backend> backend;
};

// Both backends side by side.
class Pair {
 public:
  explicit Pair(const std::string& name, KvFormat format = KvFormat::fp16)
      : model(model_named(name)),
        cpu(Device::cpu, model, format),
        gpu(Device::cuda, model, format) {}

  // n[s] more tokens of each sequence s in one batch; logits and choices of all rows must agree.
  void expect_same_step(const std::vector<uint32_t>& n) {
    std::vector<std::vector<TokenId>> tokens(n.size());
    std::vector<std::vector<KvBlockId>> blocks(n.size());
    std::vector<Segment> batch;
    std::vector<uint32_t> rows;
    for (size_t s = 0; s < n.size(); ++s) {
      for (uint32_t i = 0; i < n[s]; ++i) {
        tokens[s].push_back(static_cast<TokenId>(random_() % model->config.vocab_size));
        rows.push_back(static_cast<uint32_t>(rows.size()));
      }
      const uint32_t from = position_[s];
      position_[s] += n[s];
      while (tables_[s].size() < kv_blocks_for(position_[s])) tables_[s].push_back(next_block_++);
      ASSERT_LE(next_block_, kBlocks);
      batch.push_back({tokens[s], from, tables_[s]});
    }
    cpu.backend->forward(batch);
    gpu.backend->forward(batch);
    expect_same_states(rows);
    expect_same_rows(rows);
    std::vector<uint32_t> some;
    for (size_t i = rows.size(); i-- > 0; i -= std::min<size_t>(i, 2)) some.push_back(rows[i]);
    expect_same_rows(some);
    expect_same_states(some);
  }

  void expect_same_cache() {
    std::vector<uint8_t> a(kv_block_bytes(model->config, cpu.cache.format()));
    std::vector<uint8_t> b(a.size());
    for (KvBlockId block = 0; block < next_block_; ++block) {
      cpu.backend->read_block(block, a);
      gpu.backend->read_block(block, b);
      // Positions that nobody has written yet may hold anything.
      if (is_full(block)) {
        EXPECT_EQ(a, b) << "block " << block;
      }
    }
  }

  void copy_block(KvBlockId from, KvBlockId to) {
    cpu.backend->copy_block(from, to);
    gpu.backend->copy_block(from, to);
  }

  std::shared_ptr<const Model> model;
  Machine cpu, gpu;
  std::map<size_t, std::vector<KvBlockId>> tables_;
  std::map<size_t, uint32_t> position_;

 private:
  bool is_full(KvBlockId block) {
    for (const auto& [s, table] : tables_) {
      for (size_t i = 0; i < table.size(); ++i) {
        if (table[i] == block) return position_[s] >= (i + 1) * kKvBlockTokens;
      }
    }
    return false;
  }

  void expect_same_states(const std::vector<uint32_t>& rows) {
    const auto expected = cpu.backend->states(rows);
    const auto states = gpu.backend->states(rows);
    ASSERT_EQ(expected.size(), rows.size() * model->config.d_model);
    ASSERT_EQ(states.size(), expected.size());
    EXPECT_EQ(0, std::memcmp(states.data(), expected.data(), expected.size_bytes()));
  }

  void expect_same_rows(const std::vector<uint32_t>& rows) {
    const auto expected = cpu.backend->logits(rows);
    const auto logits = gpu.backend->logits(rows);
    ASSERT_EQ(logits.size(), expected.size());
    const size_t vocabulary = model->config.vocab_size;
    for (size_t i = 0; i < rows.size(); ++i) {
      ASSERT_EQ(0, std::memcmp(logits.data() + i * vocabulary, expected.data() + i * vocabulary,
                               vocabulary * sizeof(float)))
          << "row " << rows[i] << " of " << rows.size() << ": " << logits[i * vocabulary] << ", "
          << expected[i * vocabulary];
    }
    std::vector<TokenId> choices;
    for (size_t i = 0; i < rows.size(); ++i) {
      choices.push_back(greatest_of(expected.subspan(i * vocabulary, vocabulary)));
    }
    const auto greatest = gpu.backend->greatest(rows);
    EXPECT_EQ(std::vector<TokenId>(greatest.begin(), greatest.end()), choices);
  }

  std::mt19937 random_{5};
  KvBlockId next_block_ = 0;
};

TEST_F(CudaBackendTest, LogitsAreTheCpusBitForBit) {
  for (const char* name :
       {"tiny", "plain", "int8", "grouped", "window", "int4head", "four_bits", "biased"}) {
    SCOPED_TRACE(name);
    for (const KvFormat format : {KvFormat::fp16, KvFormat::int8}) {
      Pair pair(name, format);
      pair.expect_same_step({5});
      for (const uint32_t n : {1, 2, 3, 4, 1, 7}) pair.expect_same_step({n});
      pair.expect_same_step({33});  // more than one tile of tokens
      pair.expect_same_step({1});
      pair.expect_same_cache();
    }
  }
}

TEST_F(CudaBackendTest, BatchesOfEverySizeAgree) {
  Pair pair("tiny");
  for (uint32_t n = 1; n <= 9; ++n) {
    pair.expect_same_step(std::vector<uint32_t>(n, 1));  // recorded, filled up to 2^k
    pair.expect_same_step(std::vector<uint32_t>(n, 1));  // replayed
  }
  pair.expect_same_step({3, 1, 9, 1, 2});
  pair.expect_same_cache();
}

// What was recorded for fewer tokens holds no longer once there is room for more.
TEST_F(CudaBackendTest, RoomGrowsWithTheBatch) {
  ModelConfig config = tiny_config();
  config.d_model = config.d_ff = 64;
  config.n_heads = 1;
  config.n_kv_heads = 1;
  config.head_dim = 64;
  config.n_layers = 1;
  config.weights = WeightKind::int8;
  const auto model = make_model(
      "narrow", {.tensors = random_tensors(config, 3), .tokenizer = nullptr, .provenance = {}},
      {.ternary = PackingOptions::Ternary::two_bit});
  Machine cpu(Device::cpu, model, KvFormat::fp16);
  Machine gpu(Device::cuda, model, KvFormat::fp16);
  const KvBlockId block[] = {3};
  const TokenId token[] = {17};
  const Segment one{token, 0, block};
  const auto expect_same = [&](size_t n) {
    const std::vector<Segment> batch(n, one);
    const uint32_t last[] = {static_cast<uint32_t>(n - 1)};
    cpu.backend->forward(batch);
    gpu.backend->forward(batch);
    const auto expected = cpu.backend->logits(last);
    const auto logits = gpu.backend->logits(last);
    EXPECT_EQ(0, std::memcmp(logits.data(), expected.data(), expected.size_bytes())) << n;
  };
  for (const size_t n : {1, 520, 1}) expect_same(n);
}

TEST_F(CudaBackendTest, BlocksAreCopiedReadAndWritten) {
  Pair pair("tiny");
  pair.expect_same_step({16});
  pair.copy_block(0, 5);
  pair.tables_[1] = {5};
  pair.position_[1] = 16;
  std::vector<uint8_t> bytes(kv_block_bytes(pair.model->config));
  std::vector<uint8_t> copied(bytes.size());
  pair.gpu.backend->read_block(0, bytes);
  pair.gpu.backend->read_block(5, copied);
  EXPECT_EQ(bytes, copied);
  pair.cpu.backend->read_block(0, copied);
  EXPECT_EQ(bytes, copied);
  bytes[100] ^= 1;
  pair.gpu.backend->write_block(7, bytes);
  pair.gpu.backend->read_block(7, copied);
  EXPECT_EQ(bytes, copied);
}

// Whole generations: sampled and greedy, with log-probabilities, drafts and a shared beginning; and
// embeddings.
TEST_F(CudaBackendTest, EnginesSayTheSame) {
  const auto model = model_named("tiny");
  const auto said = [&](Device device) {
    engine::Engine engine(model, {.n_threads = 1, .max_sequences = 4, .device = device});
    std::vector<engine::GenerationRequest> requests;
    for (uint32_t i = 0; i < 6; ++i) {
      auto request = engine::request_of(engine::prompt_of(20 + i), 12, i);
      if (i % 2 == 0) request.sampling.temperature = 0.0F;
      if (i == 1) request.logprobs = 2;
      if (i == 3) request.prompt_logprobs = true;
      requests.push_back(std::move(request));
    }
    requests.push_back(engine::request_of(engine::prompt_of(70), 0));
    requests.back().embed = true;
    auto generations = engine.submit_all(std::move(requests));
    EXPECT_TRUE(generations);
    std::vector<std::pair<TokenId, float>> all;
    for (auto& generation : *generations) {
      const engine::Story story = engine::read(std::move(generation));
      EXPECT_EQ(story.end.finish, engine::FinishReason::length) << story.end.error;
      for (const auto& event : story.prompt) all.emplace_back(event.token, event.logprob);
      for (const auto& event : story.output) all.emplace_back(event.token, event.logprob);
      for (const float x : story.end.embedding) all.emplace_back(kNoToken, x);
    }
    return all;
  };
  const auto expected = said(Device::cpu);
  EXPECT_EQ(expected.size(), 6 * 12 + 23U + model->config.d_model);
  EXPECT_EQ(said(Device::cuda), expected);
}

TEST_F(CudaBackendTest, WeightsForCpusAreRefused) {
  const auto dense = make_model(
      "dense",
      {.tensors = random_tensors(tiny_config(), 7), .tokenizer = nullptr, .provenance = {}},
      {.ternary = PackingOptions::Ternary::dense});
  KvCache cache(dense->config, 1);
  ThreadTeam team(1);
  try {
    make_backend(Device::cuda, dense, cache, team, 16);
    FAIL() << "taken";
  } catch (const std::runtime_error& refusal) {
    EXPECT_STREQ(refusal.what(),
                 "the model dense does not run on the GPU: its weights are packed dense, for CPUs; "
                 "load it with two bits a weight");
  }
}

}  // namespace
}  // namespace tristill
