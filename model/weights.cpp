#include "model/weights.h"

#include "base/check.h"
#include "base/sha256.h"
#include "model/ternary.h"

namespace tristill {
namespace {

LinearWeights prepare(IntegerMatrix&& matrix, WeightKind kind, size_t rows, size_t cols) {
  CHECK(matrix.rows == rows && matrix.cols == cols && matrix.values.size() == rows * cols);
  LinearWeights weights;
  weights.kind = kind;
  weights.rows = rows;
  weights.cols = cols;
  weights.scale = std::move(matrix.scale);
  if (kind == WeightKind::ternary) {
    CHECK(weights.scale.size() == 1);
    weights.packed.resize(rows * packed_ternary_bytes(cols));
    pack_ternary(matrix.values.data(), rows, cols, weights.packed.data());
    matrix.values = {};
    return weights;
  }
  CHECK(weights.scale.size() == rows);
  weights.values = std::move(matrix.values);
  weights.row_sum.resize(rows);
  for (size_t r = 0; r < rows; ++r) {
    int32_t sum = 0;
    for (size_t c = 0; c < cols; ++c) sum += weights.values[r * cols + c];
    weights.row_sum[r] = sum;
  }
  return weights;
}

LayerWeights prepare(LayerTensors&& from, const ModelConfig& c) {
  const auto linear = [&](IntegerMatrix& m, size_t rows, size_t cols) {
    return prepare(std::move(m), c.weights, rows, cols);
  };
  CHECK(from.attn_norm.size() == c.d_model && from.ffn_norm.size() == c.d_model);
  CHECK(!c.qk_norm || (from.q_norm.size() == c.head_dim && from.k_norm.size() == c.head_dim));
  CHECK(!c.sub_norm ||
        (from.attn_sub_norm.size() == c.q_dim() && from.ffn_sub_norm.size() == c.d_ff));
  LayerWeights layer;
  layer.attn_norm = std::move(from.attn_norm);
  layer.ffn_norm = std::move(from.ffn_norm);
  layer.q_norm = std::move(from.q_norm);
  layer.k_norm = std::move(from.k_norm);
  layer.attn_sub_norm = std::move(from.attn_sub_norm);
  layer.ffn_sub_norm = std::move(from.ffn_sub_norm);
  layer.q = linear(from.q, c.q_dim(), c.d_model);
  layer.k = linear(from.k, c.kv_dim(), c.d_model);
  layer.v = linear(from.v, c.kv_dim(), c.d_model);
  layer.o = linear(from.o, c.d_model, c.q_dim());
  layer.gate = linear(from.gate, c.d_ff, c.d_model);
  layer.up = linear(from.up, c.d_ff, c.d_model);
  layer.down = linear(from.down, c.d_model, c.d_ff);
  return layer;
}

// Visits every array of the model in one fixed order.
template <class Visit>
void visit_arrays(const Model& model, Visit visit) {
  const auto bytes = [&](const auto& v) { visit(v.data(), v.size() * sizeof(v[0])); };
  const auto linear = [&](const LinearWeights& w) {
    bytes(w.packed);
    bytes(w.values);
    bytes(w.row_sum);
    bytes(w.scale);
  };
  linear(model.embedding);
  linear(model.head);
  bytes(model.output_norm);
  for (const auto& layer : model.layers) {
    for (const auto* norm : {&layer.attn_norm, &layer.ffn_norm, &layer.q_norm, &layer.k_norm,
                             &layer.attn_sub_norm, &layer.ffn_sub_norm}) {
      bytes(*norm);
    }
    for (const auto* w :
         {&layer.q, &layer.k, &layer.v, &layer.o, &layer.gate, &layer.up, &layer.down}) {
      linear(*w);
    }
  }
}

std::string fingerprint_of(const Model& model) {
  Sha256 hash;
  const ModelConfig& c = model.config;
  for (const uint32_t field :
       {c.n_layers, c.d_model, c.d_ff, c.n_heads, c.n_kv_heads, c.head_dim, c.vocab_size,
        c.max_context, static_cast<uint32_t>(c.activation), static_cast<uint32_t>(c.weights),
        static_cast<uint32_t>(c.qk_norm), static_cast<uint32_t>(c.sub_norm),
        static_cast<uint32_t>(c.tied_embeddings)}) {
    hash.update({reinterpret_cast<const char*>(&field), sizeof field});
  }
  for (const float field : {c.rope_theta, c.norm_eps, c.logit_softcap}) {
    hash.update({reinterpret_cast<const char*>(&field), sizeof field});
  }
  visit_arrays(model, [&](const void* data, size_t size) {
    hash.update({static_cast<const char*>(data), size});
  });
  return to_hex(hash.finish()).substr(0, 16);
}

}  // namespace

std::shared_ptr<const Model> make_model(std::string name, LoadedModelFile file) {
  auto model = std::make_shared<Model>();
  ModelTensors& tensors = file.tensors;
  const ModelConfig& c = tensors.config;
  CHECK(check_config(c).has_value());
  CHECK(tensors.layers.size() == c.n_layers && tensors.output_norm.size() == c.d_model);
  model->name = std::move(name);
  model->config = c;
  model->embedding =
      prepare(std::move(tensors.embedding), WeightKind::int8, c.vocab_size, c.d_model);
  if (!c.tied_embeddings) {
    model->head = prepare(std::move(tensors.head), WeightKind::int8, c.vocab_size, c.d_model);
  }
  model->output_norm = std::move(tensors.output_norm);
  model->layers.reserve(c.n_layers);
  for (auto& layer : tensors.layers) model->layers.push_back(prepare(std::move(layer), c));
  model->tokenizer = std::move(file.tokenizer);
  model->provenance = std::move(file.provenance);
  visit_arrays(*model, [&](const void*, size_t size) { model->weight_bytes += size; });
  model->fingerprint = fingerprint_of(*model);
  return model;
}

Result<std::shared_ptr<const Model>> load_model(const std::filesystem::path& path) {
  auto file = read_model_file(path);
  if (!file) return file.error();
  return make_model(path.stem().string(), std::move(*file));
}

}  // namespace tristill
