#include "model/weights.h"

#include <xxhash.h>

#include <algorithm>
#include <span>

#include "base/check.h"

namespace tristill {
namespace {

using kernels::PanelKind;

constexpr size_t kAlignment = 4096;
constexpr size_t kHashPart = size_t{1} << 20;
constexpr uint64_t kNearCache = uint64_t{8} << 20;  // bytes of weights that need no denser form

// A matrix of the model and where it comes from.
struct Source {
  PanelMatrix* matrix;
  PanelKind kind;
  Stacking stacking;
  std::vector<const IntegerMatrix*> parts;
};

void check_shape(const IntegerMatrix& m, WeightKind kind, size_t rows, size_t cols) {
  CHECK(m.rows == rows && m.cols == cols);
  CHECK(m.scale.size() == (kind == WeightKind::ternary ? 1 : rows));
  CHECK(m.bias.empty() || m.bias.size() == rows);
  CHECK(!m.stored_blocks.empty() || m.values.size() + m.stored_rows.size() == rows * cols);
}

void check_shapes(const LayerTensors& layer, const ModelConfig& c) {
  CHECK(layer.attn_norm.size() == c.d_model && layer.ffn_norm.size() == c.d_model);
  CHECK(!c.qk_norm || (layer.q_norm.size() == c.head_dim && layer.k_norm.size() == c.head_dim));
  CHECK(!c.sub_norm ||
        (layer.attn_sub_norm.size() == c.q_dim() && layer.ffn_sub_norm.size() == c.d_ff));
  check_shape(layer.q, c.attention_weights(), c.q_dim(), c.d_model);
  check_shape(layer.k, c.attention_weights(), c.kv_dim(), c.d_model);
  check_shape(layer.v, c.attention_weights(), c.kv_dim(), c.d_model);
  check_shape(layer.o, c.attention_weights(), c.d_model, c.q_dim());
  check_shape(layer.gate, c.mlp_weights(), c.d_ff, c.d_model);
  check_shape(layer.up, c.mlp_weights(), c.d_ff, c.d_model);
  check_shape(layer.down, c.mlp_weights(), c.d_model, c.d_ff);
}

PanelKind panel_kind(WeightKind weights, const ModelConfig& config, const PackingOptions& packing) {
  using Ternary = PackingOptions::Ternary;
  if (weights == WeightKind::int8) return PanelKind::int8;
  if (packing.ternary == Ternary::two_bit) return PanelKind::ternary;
  if (packing.ternary == Ternary::dense) return PanelKind::dense;
  const bool far = count_parameters(config).ternary / 4 > kNearCache;
  return far && kernels::best().unpacks_dense ? PanelKind::dense : PanelKind::ternary;
}

// In the order in which a step reads them.
std::vector<Source> sources_of(Model& model, const ModelTensors& tensors,
                               const PackingOptions& packing) {
  const ModelConfig& config = model.config;
  const PanelKind attention = panel_kind(config.attention_weights(), config, packing);
  const PanelKind mlp = panel_kind(config.mlp_weights(), config, packing);
  std::vector<Source> sources;
  for (size_t l = 0; l < tensors.layers.size(); ++l) {
    const LayerTensors& from = tensors.layers[l];
    LayerWeights& to = model.layers[l];
    sources.push_back({&to.qkv, attention, Stacking::sequence, {&from.q, &from.k, &from.v}});
    sources.push_back({&to.o, attention, Stacking::sequence, {&from.o}});
    sources.push_back({&to.gate_up, mlp, Stacking::alternating, {&from.gate, &from.up}});
    sources.push_back({&to.down, mlp, Stacking::sequence, {&from.down}});
  }
  return sources;
}

// One piece of memory for all matrices, in this order.
void place_matrices(Model& model, const std::vector<PanelMatrix*>& matrices) {
  const auto aligned = [](size_t n) { return (n + kAlignment - 1) / kAlignment * kAlignment; };
  size_t total = 0;
  for (const PanelMatrix* matrix : matrices) total += aligned(matrix->bytes());
  model.memory = HugePages(total);
  uint8_t* next = model.memory.data();
  for (PanelMatrix* matrix : matrices) {
    matrix->data = next;
    next += aligned(matrix->bytes());
    model.weight_bytes += matrix->bytes();
  }
}

void fill_matrices(Model& model, const ModelTensors& tensors, const PackingOptions& packing,
                   ThreadTeam& team) {
  const auto sources = sources_of(model, tensors, packing);
  const auto& head = model.config.tied_embeddings ? tensors.embedding : tensors.head;
  model.head = head_shape(head, packing.head == PackingOptions::Head::int4);
  std::vector<PanelMatrix*> matrices;
  for (const Source& source : sources) {
    *source.matrix = panel_shape(source.kind, source.stacking, source.parts);
    matrices.push_back(source.matrix);
  }
  matrices.push_back(&model.head.high);
  if (model.head.is_sliced()) {
    matrices.insert(matrices.end(), {&model.head.middle, &model.head.low});
  }
  place_matrices(model, matrices);
  const auto float_bytes = [](const PanelMatrix& matrix) {
    return (matrix.scale.size() + matrix.bias.size()) * sizeof(float);
  };
  for (const Source& source : sources) {
    fill_panels(*source.matrix, source.stacking, source.parts, team);
    model.linear_bytes += source.matrix->bytes() + float_bytes(*source.matrix);
  }
  fill_head(model.head, head, team);
  for (const PanelMatrix* matrix : matrices) model.weight_bytes += float_bytes(*matrix);
  model.weight_bytes +=
      (model.head.high_radius.size() + model.head.middle_radius.size()) * sizeof(float);
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
    for (const auto* norm : {&to.attn_norm, &to.ffn_norm, &to.q_norm, &to.k_norm, &to.attn_sub_norm,
                             &to.ffn_sub_norm}) {
      model.weight_bytes += norm->size() * sizeof(float);
    }
  }
}

std::span<const std::byte> bytes_of(const IntegerMatrix& matrix) {
  if (!matrix.stored_blocks.empty()) return matrix.stored_blocks;
  return std::as_bytes(matrix.values.empty() ? matrix.stored_rows : std::span(matrix.values));
}

// XXH3 of every part of the matrix, in order.
std::vector<uint64_t> hash_parts(const IntegerMatrix& matrix, ThreadTeam& team) {
  const auto bytes = bytes_of(matrix);
  std::vector<uint64_t> hashes((bytes.size() + kHashPart - 1) / kHashPart);
  team.for_each(hashes.size(), 1, [&](size_t i, uint32_t) {
    const auto part = bytes.subspan(i * kHashPart);
    hashes[i] = XXH3_64bits(part.data(), std::min(kHashPart, part.size()));
  });
  return hashes;
}

// Before the tensors are given up: of what they hold, however it is packed.
std::string fingerprint_of(const ModelTensors& tensors, const PackingOptions& packing,
                           ThreadTeam& team) {
  XXH3_state_t hash;
  XXH3_64bits_reset(&hash);
  const auto add = [&](const auto* data, size_t n) {
    XXH3_64bits_update(&hash, data, n * sizeof(*data));
  };
  const ModelConfig& c = tensors.config;
  for (const uint32_t field :
       {c.n_layers, c.d_model, c.d_ff, c.n_heads, c.n_kv_heads, c.head_dim, c.vocab_size,
        c.max_context, static_cast<uint32_t>(c.activation), static_cast<uint32_t>(c.weights),
        static_cast<uint32_t>(c.qk_norm), static_cast<uint32_t>(c.sub_norm),
        static_cast<uint32_t>(c.tied_embeddings), static_cast<uint32_t>(packing.head),
        c.sliding_window, c.activation_bits, c.down_activation_bits,
        static_cast<uint32_t>(c.ternary_attention), static_cast<uint32_t>(c.ternary_mlp)}) {
    add(&field, 1);
  }
  for (const float field : {c.rope_theta, c.norm_eps, c.logit_softcap, c.attention_softcap})
    add(&field, 1);
  const auto add_matrix = [&](const IntegerMatrix& matrix) {
    const auto parts = hash_parts(matrix, team);
    add(parts.data(), parts.size());
    add(matrix.scale.data(), matrix.scale.size());
    add(matrix.bias.data(), matrix.bias.size());
  };
  add_matrix(tensors.embedding);
  add_matrix(tensors.head);
  add(tensors.output_norm.data(), tensors.output_norm.size());
  for (const LayerTensors& layer : tensors.layers) {
    for (const auto* norm : {&layer.attn_norm, &layer.ffn_norm, &layer.q_norm, &layer.k_norm,
                             &layer.attn_sub_norm, &layer.ffn_sub_norm}) {
      add(norm->data(), norm->size());
    }
    for (const auto* matrix :
         {&layer.q, &layer.k, &layer.v, &layer.o, &layer.gate, &layer.up, &layer.down}) {
      add_matrix(*matrix);
    }
  }
  XXH64_canonical_t digest;
  XXH64_canonicalFromHash(&digest, XXH3_64bits_digest(&hash));
  std::string hex;
  for (const unsigned char byte : digest.digest) {
    hex += "0123456789abcdef"[byte >> 4];
    hex += "0123456789abcdef"[byte & 15];
  }
  return hex;
}

}  // namespace

void Model::embed(TokenId token, float* out) const {
  CHECK(token >= 0 && static_cast<uint32_t>(token) < config.vocab_size);
  const auto row = static_cast<size_t>(token);
  if (embedding.rows == 0) return head.read_row(row, {out, config.d_model});
  const int8_t* values = embedding.row(row);
  const float scale = embedding.scale[row];
  for (size_t c = 0; c < config.d_model; ++c) out[c] = static_cast<float>(values[c]) * scale;
}

std::shared_ptr<const Model> make_model(std::string name, LoadedModelFile file,
                                        const PackingOptions& packing) {
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
  model->fingerprint = fingerprint_of(tensors, packing, team);
  model->census = take_census(tensors, team);
  fill_matrices(*model, tensors, packing, team);
  take_norms(*model, tensors);
  if (!c.tied_embeddings || !model->head.is_sliced()) {
    model->embedding = std::move(tensors.embedding);
    model->mapping = std::move(file.mapping);
    model->weight_bytes += model->embedding.values.size();
  }
  model->tokenizer = std::move(file.tokenizer);
  model->provenance = std::move(file.provenance);
  model->chat_template = std::move(file.chat_template);
  return model;
}

Result<std::shared_ptr<const Model>> load_model(const std::filesystem::path& path,
                                                const PackingOptions& packing) {
  auto file = read_model_file(path);
  if (!file) return file.error();
  return make_model(path.stem().string(), std::move(*file), packing);
}

}  // namespace tristill
