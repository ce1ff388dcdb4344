#include "model/weights.h"

#include <xxhash.h>

#include "base/check.h"
#include "base/sha256.h"

namespace tristill {
namespace {

constexpr size_t kAlignment = 4096;
constexpr size_t kHashPart = size_t{1} << 20;

// A matrix of the model and where it comes from.
struct Source {
  PanelMatrix* matrix;
  WeightKind kind;
  Stacking stacking;
  std::vector<const IntegerMatrix*> parts;
};

void check_shape(const IntegerMatrix& m, WeightKind kind, size_t rows, size_t cols) {
  CHECK(m.rows == rows && m.cols == cols);
  CHECK(m.scale.size() == (kind == WeightKind::ternary ? 1 : rows));
  CHECK(!m.stored_blocks.empty() || m.values.size() + m.stored_rows.size() == rows * cols);
}

void check_shapes(const LayerTensors& layer, const ModelConfig& c) {
  CHECK(layer.attn_norm.size() == c.d_model && layer.ffn_norm.size() == c.d_model);
  CHECK(!c.qk_norm || (layer.q_norm.size() == c.head_dim && layer.k_norm.size() == c.head_dim));
  CHECK(!c.sub_norm ||
        (layer.attn_sub_norm.size() == c.q_dim() && layer.ffn_sub_norm.size() == c.d_ff));
  check_shape(layer.q, c.weights, c.q_dim(), c.d_model);
  check_shape(layer.k, c.weights, c.kv_dim(), c.d_model);
  check_shape(layer.v, c.weights, c.kv_dim(), c.d_model);
  check_shape(layer.o, c.weights, c.d_model, c.q_dim());
  check_shape(layer.gate, c.weights, c.d_ff, c.d_model);
  check_shape(layer.up, c.weights, c.d_ff, c.d_model);
  check_shape(layer.down, c.weights, c.d_model, c.d_ff);
}

std::vector<Source> sources_of(Model& model, const ModelTensors& tensors) {
  const WeightKind kind = model.config.weights;
  std::vector<Source> sources = {
      {&model.embedding, WeightKind::int8, Stacking::sequence, {&tensors.embedding}}};
  if (!model.config.tied_embeddings) {
    sources.push_back({&model.head, WeightKind::int8, Stacking::sequence, {&tensors.head}});
  }
  for (size_t l = 0; l < tensors.layers.size(); ++l) {
    const LayerTensors& from = tensors.layers[l];
    LayerWeights& to = model.layers[l];
    sources.push_back({&to.qkv, kind, Stacking::sequence, {&from.q, &from.k, &from.v}});
    sources.push_back({&to.o, kind, Stacking::sequence, {&from.o}});
    sources.push_back({&to.gate_up, kind, Stacking::alternating, {&from.gate, &from.up}});
    sources.push_back({&to.down, kind, Stacking::sequence, {&from.down}});
  }
  return sources;
}

// One piece of memory for all matrices, in the order in which a step reads them.
void fill_matrices(Model& model, const std::vector<Source>& sources, ThreadTeam& team) {
  size_t total = 0;
  const auto aligned = [](size_t n) { return (n + kAlignment - 1) / kAlignment * kAlignment; };
  for (const Source& source : sources) {
    *source.matrix = panel_shape(source.kind, source.stacking, source.parts);
    total += aligned(source.matrix->bytes());
  }
  model.memory = HugePages(total);
  uint8_t* next = model.memory.data();
  for (const Source& source : sources) {
    source.matrix->data = next;
    next += aligned(source.matrix->bytes());
    fill_panels(*source.matrix, source.kind, source.stacking, source.parts, team);
    model.weight_bytes += source.matrix->bytes() + source.matrix->scale.size() * sizeof(float);
  }
}

void take_norms(Model& model, ModelTensors& tensors) {
  model.output_norm = std::move(tensors.output_norm);
  model.weight_bytes += model.output_norm.size() * sizeof(float);
  for (size_t l = 0; l < model.layers.size(); ++l) {
    LayerTensors& from = tensors.layers[l];
    LayerWeights& to = model.layers[l];
    to.attn_norm = std::move(from.attn_norm);
    to.ffn_norm = std::move(from.ffn_norm);
    to.q_norm = std::move(from.q_norm);
    to.k_norm = std::move(from.k_norm);
    to.attn_sub_norm = std::move(from.attn_sub_norm);
    to.ffn_sub_norm = std::move(from.ffn_sub_norm);
    for (const auto* norm : {&to.attn_norm, &to.ffn_norm, &to.q_norm, &to.k_norm,
                             &to.attn_sub_norm, &to.ffn_sub_norm}) {
      model.weight_bytes += norm->size() * sizeof(float);
    }
  }
}

// XXH3 of every part of the matrices, in order.
std::vector<uint64_t> hash_parts(const HugePages& memory, ThreadTeam& team) {
  std::vector<uint64_t> hashes((memory.size() + kHashPart - 1) / kHashPart);
  team.for_each(hashes.size(), 1, [&](size_t i, uint32_t) {
    const size_t begin = i * kHashPart;
    hashes[i] =
        XXH3_64bits(memory.data() + begin, std::min(kHashPart, memory.size() - begin));
  });
  return hashes;
}

std::string fingerprint_of(const Model& model, ThreadTeam& team) {
  Sha256 hash;
  const auto add = [&](const auto* data, size_t n) {
    hash.update({reinterpret_cast<const char*>(data), n * sizeof(*data)});
  };
  const ModelConfig& c = model.config;
  for (const uint32_t field :
       {c.n_layers, c.d_model, c.d_ff, c.n_heads, c.n_kv_heads, c.head_dim, c.vocab_size,
        c.max_context, static_cast<uint32_t>(c.activation), static_cast<uint32_t>(c.weights),
        static_cast<uint32_t>(c.qk_norm), static_cast<uint32_t>(c.sub_norm),
        static_cast<uint32_t>(c.tied_embeddings)}) {
    add(&field, 1);
  }
  for (const float field : {c.rope_theta, c.norm_eps, c.logit_softcap}) add(&field, 1);
  const auto parts = hash_parts(model.memory, team);
  add(parts.data(), parts.size());
  add(model.embedding.scale.data(), model.embedding.scale.size());
  add(model.head.scale.data(), model.head.scale.size());
  add(model.output_norm.data(), model.output_norm.size());
  for (const LayerWeights& layer : model.layers) {
    for (const auto* values :
         {&layer.attn_norm, &layer.ffn_norm, &layer.q_norm, &layer.k_norm, &layer.attn_sub_norm,
          &layer.ffn_sub_norm, &layer.qkv.scale, &layer.o.scale, &layer.gate_up.scale,
          &layer.down.scale}) {
      add(values->data(), values->size());
    }
  }
  return to_hex(hash.finish()).substr(0, 16);
}

}  // namespace

std::shared_ptr<const Model> make_model(std::string name, LoadedModelFile file) {
  auto model = std::make_shared<Model>();
  ModelTensors& tensors = file.tensors;
  const ModelConfig& c = tensors.config;
  CHECK(check_config(c).has_value());
  CHECK(tensors.layers.size() == c.n_layers && tensors.output_norm.size() == c.d_model);
  check_shape(tensors.embedding, WeightKind::int8, c.vocab_size, c.d_model);
  if (!c.tied_embeddings) check_shape(tensors.head, WeightKind::int8, c.vocab_size, c.d_model);
  for (const LayerTensors& layer : tensors.layers) check_shapes(layer, c);
  model->name = std::move(name);
  model->config = c;
  model->layers.resize(c.n_layers);
  ThreadTeam team(usable_cores());
  fill_matrices(*model, sources_of(*model, tensors), team);
  take_norms(*model, tensors);
  model->tokenizer = std::move(file.tokenizer);
  model->provenance = std::move(file.provenance);
  model->fingerprint = fingerprint_of(*model, team);
  return model;
}

Result<std::shared_ptr<const Model>> load_model(const std::filesystem::path& path) {
  auto file = read_model_file(path);
  if (!file) return file.error();
  return make_model(path.stem().string(), std::move(*file));
}

}  // namespace tristill
