// Tiny models of random weights, the same ones that tests/golden/forward_reference.py builds:
// every value is splitmix64 of a running index.
#pragma once

#include <cmath>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "model/weights.h"

namespace tristill {

class WeightSource {
 public:
  explicit WeightSource(uint64_t seed) : state_(seed) {}

  uint64_t next() {
    state_ += 0x9E3779B97F4A7C15ULL;
    uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    return z ^ (z >> 31);
  }
  // Integers in [-limit, limit].
  std::vector<int8_t> integers(size_t n, int limit) {
    std::vector<int8_t> v(n);
    const auto range = static_cast<uint64_t>(2 * limit + 1);
    for (auto& x : v) x = static_cast<int8_t>(static_cast<int>((next() >> 33) % range) - limit);
    return v;
  }
  // Multiples of 2^-10 in [0.5, 1.5): gains, exact in fp32.
  std::vector<float> gains(size_t n) {
    std::vector<float> v(n);
    for (auto& x : v) x = 0.5F + static_cast<float>((next() >> 33) % 1024) / 1024.0F;
    return v;
  }

 private:
  uint64_t state_;
};

inline IntegerMatrix random_matrix(WeightSource& source, WeightKind kind, size_t rows,
                                   size_t cols) {
  const bool ternary = kind == WeightKind::ternary;
  IntegerMatrix m{.rows = rows,
                  .cols = cols,
                  .values = source.integers(rows * cols, ternary ? 1 : 127),
                  .scale = source.gains(ternary ? 1 : rows)};
  // About unit gain: values have variance 2/3 or 127^2 / 3.
  const float unit = 1.0F / std::sqrt(static_cast<float>(cols)) / (ternary ? 1.0F : 64.0F);
  for (float& s : m.scale) s *= unit;
  return m;
}

inline ModelTensors random_tensors(const ModelConfig& config, uint64_t seed) {
  WeightSource source(seed);
  ModelTensors tensors{
      .config = config,
      .embedding = random_matrix(source, WeightKind::int8, config.vocab_size, config.d_model),
      .head = {},
      .output_norm = source.gains(config.d_model),
      .layers = {}};
  if (!config.tied_embeddings) {
    tensors.head = random_matrix(source, WeightKind::int8, config.vocab_size, config.d_model);
  }
  for (uint32_t l = 0; l < config.n_layers; ++l) {
    LayerTensors layer;
    layer.attn_norm = source.gains(config.d_model);
    layer.ffn_norm = source.gains(config.d_model);
    if (config.qk_norm) {
      layer.q_norm = source.gains(config.head_dim);
      layer.k_norm = source.gains(config.head_dim);
    }
    if (config.sub_norm) {
      layer.attn_sub_norm = source.gains(config.q_dim());
      layer.ffn_sub_norm = source.gains(config.d_ff);
    }
    const auto linear = [&](size_t rows, size_t cols) {
      return random_matrix(source, config.attention_weights(), rows, cols);
    };
    const auto mlp = [&](size_t rows, size_t cols) {
      return random_matrix(source, config.mlp_weights(), rows, cols);
    };
    layer.q = linear(config.q_dim(), config.d_model);
    layer.k = linear(config.kv_dim(), config.d_model);
    layer.v = linear(config.kv_dim(), config.d_model);
    layer.o = linear(config.d_model, config.q_dim());
    layer.gate = mlp(config.d_ff, config.d_model);
    layer.up = mlp(config.d_ff, config.d_model);
    layer.down = mlp(config.d_model, config.d_ff);
    tensors.layers.push_back(std::move(layer));
  }
  return tensors;
}

// A bias a row for every linear layer, of the size of what it gives.
inline void add_biases(ModelTensors& tensors, uint64_t seed) {
  WeightSource source(seed);
  for (LayerTensors& layer : tensors.layers) {
    for (IntegerMatrix* matrix :
         {&layer.q, &layer.k, &layer.v, &layer.o, &layer.gate, &layer.up, &layer.down}) {
      matrix->bias = source.gains(matrix->rows);
      for (float& b : matrix->bias) b -= 1.0F;
    }
  }
}

inline std::shared_ptr<const Model> random_model(const ModelConfig& config, uint64_t seed) {
  return make_model(
      "random", {.tensors = random_tensors(config, seed), .tokenizer = nullptr, .provenance = {}});
}

// The shapes that tests use: small, but with every part switched on.
inline ModelConfig tiny_config() {
  ModelConfig config;
  config.n_layers = 2;
  config.d_model = 256;
  config.d_ff = 512;
  config.n_heads = 4;
  config.n_kv_heads = 2;
  config.head_dim = 64;
  config.vocab_size = 300;
  config.max_context = 128;
  return config;
}

// swiglu, own head, soft cap, no extra norms.
inline ModelConfig plain_config() {
  ModelConfig config = tiny_config();
  config.activation = Activation::swiglu;
  config.qk_norm = false;
  config.sub_norm = false;
  config.tied_embeddings = false;
  config.logit_softcap = 30.0F;
  config.rope_theta = 1e6F;
  return config;
}

inline ModelConfig window_config() {
  ModelConfig config = tiny_config();
  config.sliding_window = 5;
  return config;
}

// 4-bit activations except before down, capped scores, int8 attention, a width of half a block.
inline ModelConfig four_bit_config() {
  ModelConfig config = tiny_config();
  config.d_ff = 448;
  config.activation_bits = 4;
  config.attention_softcap = 3.0F;
  config.ternary_attention = false;
  return config;
}

// int8 weights in sizes that fit no vector.
inline ModelConfig int8_config() {
  ModelConfig config = tiny_config();
  config.d_model = 72;
  config.d_ff = 100;
  config.n_heads = 6;
  config.n_kv_heads = 3;
  config.head_dim = 12;
  config.activation = Activation::swiglu;
  config.weights = WeightKind::int8;
  return config;
}

}  // namespace tristill
