#include "bench/random_model.h"

#include <utility>

#include <cmath>

#include "base/random.h"

namespace tristill::bench {
namespace {

constexpr uint64_t kSeed = 1;

IntegerMatrix random_matrix(RandomStream& random, WeightKind kind, size_t rows, size_t cols) {
  const bool ternary = kind == WeightKind::ternary;
  IntegerMatrix m;
  m.rows = rows;
  m.cols = cols;
  m.values.resize(rows * cols);
  uint64_t state = random.below(UINT64_MAX);  // splitmix64: philox would take minutes for 2B
  for (auto& v : m.values) {
    state += 0x9E3779B97F4A7C15ULL;
    const uint64_t z = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9ULL;
    const uint64_t range = ternary ? 3 : 255;
    v = static_cast<int8_t>(static_cast<int>((z >> 32) * range >> 32) - (ternary ? 1 : 127));
  }
  m.scale.assign(ternary ? 1 : rows,
                 1.0F / std::sqrt(static_cast<float>(cols)) / (ternary ? 1.0F : 64.0F));
  return m;
}

}  // namespace

ModelConfig shape_named(const std::string& name) {
  ModelConfig config;
  config.max_context = 4096;
  config.rope_theta = 1e6F;
  config.norm_eps = 1e-6F;
  config.activation = Activation::swiglu;
  config.sub_norm = false;
  config.vocab_size = 32000;
  if (name == "100m") {
    config.n_layers = 12;
    config.d_model = 768;
    config.d_ff = 2048;
    config.n_heads = 12;
    config.n_kv_heads = 4;
  } else if (name == "700m") {
    config.n_layers = 24;
    config.d_model = 1536;
    config.d_ff = 4096;
    config.n_heads = 24;
    config.n_kv_heads = 8;
  } else {
    config.n_layers = 30;
    config.d_model = 2560;
    config.d_ff = 6912;
    config.n_heads = 20;
    config.n_kv_heads = 5;
    config.vocab_size = 128256;
  }
  config.head_dim = config.d_model / config.n_heads;
  return config;
}

ModelTensors random_tensors(const ModelConfig& c) {
  RandomStream random(kSeed, 0);
  ModelTensors t;
  t.config = c;
  t.embedding = random_matrix(random, WeightKind::int8, c.vocab_size, c.d_model);
  t.output_norm.assign(c.d_model, 1.0F);
  for (uint32_t l = 0; l < c.n_layers; ++l) {
    LayerTensors layer;
    layer.attn_norm.assign(c.d_model, 1.0F);
    layer.ffn_norm.assign(c.d_model, 1.0F);
    layer.q_norm.assign(c.head_dim, 1.0F);
    layer.k_norm.assign(c.head_dim, 1.0F);
    layer.q = random_matrix(random, c.weights, c.q_dim(), c.d_model);
    layer.k = random_matrix(random, c.weights, c.kv_dim(), c.d_model);
    layer.v = random_matrix(random, c.weights, c.kv_dim(), c.d_model);
    layer.o = random_matrix(random, c.weights, c.d_model, c.q_dim());
    layer.gate = random_matrix(random, c.weights, c.d_ff, c.d_model);
    layer.up = random_matrix(random, c.weights, c.d_ff, c.d_model);
    layer.down = random_matrix(random, c.weights, c.d_model, c.d_ff);
    t.layers.push_back(std::move(layer));
  }
  return t;
}

Result<std::shared_ptr<const Model>> open_model(const std::string& file, const std::string& shape,
                                                const PackingOptions& packing) {
  if (!file.empty()) return load_model(file, packing);
  LoadedModelFile random;
  random.tensors = random_tensors(shape_named(shape));
  return make_model("random-" + shape, std::move(random), packing);
}

}  // namespace tristill::bench
