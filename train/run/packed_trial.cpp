#include "train/run/packed_trial.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <deque>
#include <limits>

#include "base/check.h"
#include "base/random.h"
#include "base/seconds_since.h"
#include "model/backend.h"
#include "model/ternary.h"
#include "train/run/resident_memory.h"

namespace tristill::train {
namespace {

using Clock = std::chrono::steady_clock;

// splitmix64 (Steele et al. 2014): Philox would take minutes for billions of weights.
class FastRandom {
 public:
  explicit FastRandom(uint64_t seed) : state_(seed) {}
  uint64_t next() {
    state_ += 0x9E3779B97F4A7C15ULL;
    uint64_t z = state_;
    z = (z ^ (z >> 30U)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27U)) * 0x94D049BB133111EBULL;
    return z ^ (z >> 31U);
  }

 private:
  uint64_t state_;
};

// Owns what the matrices view.
class RandomWeights {
 public:
  IntegerMatrix matrix(size_t rows, size_t cols, WeightKind kind) {
    const bool packed = kind == WeightKind::ternary && cols % kTernaryBlock == 0;
    IntegerMatrix m{.rows = rows, .cols = cols};
    const float unit = 1.0F / std::sqrt(static_cast<float>(cols));
    m.scale.assign(kind == WeightKind::ternary ? 1 : rows,
                   kind == WeightKind::ternary ? unit : unit / 64.0F);
    if (packed) {
      m.stored_blocks = blocks(rows * cols / kTernaryBlock);
    } else {
      const int range = kind == WeightKind::ternary ? 3 : 255;
      m.values.resize(rows * cols);
      for (int8_t& value : m.values) {
        const auto drawn =
            static_cast<int>((random_.next() >> 32U) * static_cast<uint64_t>(range) >> 32U);
        value = static_cast<int8_t>(drawn - range / 2);
      }
    }
    return m;
  }

 private:
  // Codes 0, 1, 2; a 3 becomes a 1, so that half of the weights are 0.
  std::span<const std::byte> blocks(size_t n) {
    constexpr size_t kCodes = kTernaryBlockBytes - 2;
    constexpr uint16_t kOne = 0x3C00;  // 1.0 in fp16
    auto& bytes = owned_.emplace_back(n * kTernaryBlockBytes);
    for (size_t b = 0; b < n; ++b) {
      std::byte* block = bytes.data() + b * kTernaryBlockBytes;
      for (size_t i = 0; i < kCodes; i += 8) {
        uint64_t codes = random_.next();
        const uint64_t threes = codes & (codes >> 1U) & 0x5555555555555555ULL;
        codes &= ~(threes << 1U);
        std::memcpy(block + i, &codes, sizeof codes);
      }
      std::memcpy(block + kCodes, &kOne, sizeof kOne);
    }
    return bytes;
  }

  FastRandom random_{1};
  std::deque<std::vector<std::byte>> owned_;
};

ModelTensors random_tensors(const ModelConfig& c, RandomWeights& random) {
  ModelTensors t;
  t.config = c;
  t.embedding = random.matrix(c.vocab_size, c.d_model, WeightKind::int8);
  if (!c.tied_embeddings) t.head = random.matrix(c.vocab_size, c.d_model, WeightKind::int8);
  t.output_norm.assign(c.d_model, 1.0F);
  for (uint32_t l = 0; l < c.n_layers; ++l) {
    LayerTensors layer;
    layer.attn_norm.assign(c.d_model, 1.0F);
    layer.ffn_norm.assign(c.d_model, 1.0F);
    if (c.qk_norm) layer.q_norm.assign(c.head_dim, 1.0F);
    if (c.qk_norm) layer.k_norm.assign(c.head_dim, 1.0F);
    if (c.sub_norm) layer.attn_sub_norm.assign(c.q_dim(), 1.0F);
    if (c.sub_norm) layer.ffn_sub_norm.assign(c.d_ff, 1.0F);
    layer.q = random.matrix(c.q_dim(), c.d_model, c.attention_weights());
    layer.k = random.matrix(c.kv_dim(), c.d_model, c.attention_weights());
    layer.v = random.matrix(c.kv_dim(), c.d_model, c.attention_weights());
    layer.o = random.matrix(c.d_model, c.q_dim(), c.attention_weights());
    layer.gate = random.matrix(c.d_ff, c.d_model, c.mlp_weights());
    layer.up = random.matrix(c.d_ff, c.d_model, c.mlp_weights());
    layer.down = random.matrix(c.d_model, c.d_ff, c.mlp_weights());
    t.layers.push_back(std::move(layer));
  }
  return t;
}

std::shared_ptr<const Model> random_model(const ModelConfig& config) {
  RandomWeights random;
  LoadedModelFile file;
  file.tensors = random_tensors(config, random);
  return make_model("dryrun", std::move(file), {.ternary = PackingOptions::Ternary::two_bit});
}

}  // namespace

PackedTrial try_packed_forward(const ModelConfig& config, uint32_t n_tokens) {
  PackedTrial trial;
  auto start = Clock::now();
  const auto model = random_model(config);
  trial.pack_seconds = seconds_since(start);
  trial.weight_bytes = model->weight_bytes;
  ThreadTeam team(usable_cores());
  const uint32_t n_blocks = kv_blocks_for(n_tokens);
  KvCache cache(config, n_blocks);
  trial.kv_bytes = n_blocks * cache.block_bytes();
  std::vector<KvBlockId> blocks(n_blocks);
  for (KvBlockId& block : blocks) block = cache.acquire();
  std::vector<TokenId> tokens(n_tokens);
  RandomStream random(1, 0);
  for (TokenId& token : tokens) token = static_cast<TokenId>(random.below(config.vocab_size));
  const auto backend = make_backend(Device::cpu, model, cache, team, n_tokens);
  const Segment segment{tokens, 0, blocks};
  start = Clock::now();
  backend->forward({&segment, 1});
  const uint32_t last = n_tokens - 1;
  const auto logits = backend->logits({&last, 1});
  trial.forward_seconds = seconds_since(start);
  trial.resident_bytes = resident_bytes().value_or(0);
  trial.logits.assign(logits.begin(), logits.end());
  return trial;
}

double largest_magnitude(const std::vector<float>& logits) {
  float largest = 0;
  for (const float logit : logits) largest = std::max(largest, std::fabs(logit));
  return largest;
}

bool all_finite(const std::vector<float>& logits) {
  return std::ranges::all_of(logits, [](float logit) { return std::isfinite(logit); });
}

double largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  CHECK(a.size() == b.size());
  if (!all_finite(a) || !all_finite(b)) return std::numeric_limits<double>::quiet_NaN();
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double difference = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    largest = std::max(largest, std::fabs(difference));
  }
  return largest;
}

}  // namespace tristill::train
