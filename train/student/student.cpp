#include "train/student/student.h"

#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <utility>

#include "base/check.h"
#include "base/random.h"
#include "train/device/ops.h"
#include "train/student/attention.h"
#include "train/student/recompute.h"

namespace tristill::train {
namespace {

using torch::Tensor;

// N(0, std) by Box-Muller on counter-based words: the same values on every machine.
Tensor normal(int64_t rows, int64_t cols, double std, uint64_t seed, uint64_t stream) {
  Tensor out = at::empty({rows, cols}, at::kFloat);
  auto* values = out.data_ptr<float>();
  at::parallel_for(0, rows * cols, 1 << 15, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const auto words = philox(seed, stream, static_cast<uint64_t>(i));
      const double u = (static_cast<double>(words[0]) + 0.5) * 0x1p-32;
      const double angle = 2.0 * std::numbers::pi * (static_cast<double>(words[1]) * 0x1p-32);
      values[i] = static_cast<float>(std * std::sqrt(-2.0 * std::log(u)) * std::cos(angle));
    }
  });
  return out;
}

// Rows of the embedding as they are served (q * scale); gradient goes to the latent rows.
struct EmbeddingRows : torch::autograd::Function<EmbeddingRows> {
  static Tensor forward(torch::autograd::AutogradContext* ctx, const Tensor& latent,
                        const LinearWeight* embedding, const Tensor& tokens) {
    ctx->save_for_backward({tokens});
    ctx->saved_data["vocab"] = latent.size(0);
    if (embedding->mode() == LinearMode::dense) return latent.index_select(0, tokens);
    return embedding->values().index_select(0, tokens) *
           embedding->scale().index_select(0, tokens).unsqueeze(1);
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 const torch::autograd::variable_list& grads) {
    const Tensor tokens = ctx->get_saved_variables()[0];
    const int64_t vocab = ctx->saved_data["vocab"].toInt();
    if (device::takes(tokens)) return {device::row_gradients(grads[0], tokens, vocab), {}, {}};
    Tensor grad = at::zeros({vocab, grads[0].size(1)}, at::kFloat);
    grad.index_add_(0, tokens, grads[0]);
    return {grad, Tensor(), Tensor()};
  }
};

// Tensors of a model file on a device.
struct FrozenOn {
  torch::Device device;

  Tensor gain(const std::vector<float>& values) const {
    return values.empty() ? Tensor() : torch::tensor(values).to(device);
  }
  LinearWeight matrix(const IntegerMatrix& matrix, bool ternary) const;
};

LinearWeight FrozenOn::matrix(const IntegerMatrix& matrix, bool ternary) const {
  const std::vector<int8_t> values = unpacked_values(matrix);
  Tensor copied =
      at::empty({static_cast<int64_t>(matrix.rows), static_cast<int64_t>(matrix.cols)}, at::kChar);
  std::copy(values.begin(), values.end(), copied.data_ptr<int8_t>());
  return LinearWeight::frozen(copied.to(device), gain(matrix.scale), gain(matrix.bias),
                              ternary ? LinearMode::ternary : LinearMode::int8);
}

double gain_of(const Tensor& branch, const Tensor& residual) {
  const torch::NoGradGuard no_grad;
  const double over = residual.square().mean().item<double>();
  return std::sqrt(branch.square().mean().item<double>() / std::max(over, 1e-30));
}

// By their names in the model file, in the order of job::block_matrices.
template <class AnyBlock>
auto matrices_of(AnyBlock& block) {
  return std::array{std::pair{"attn_q", &block.q},      std::pair{"attn_k", &block.k},
                    std::pair{"attn_v", &block.v},      std::pair{"attn_output", &block.o},
                    std::pair{"ffn_gate", &block.gate}, std::pair{"ffn_up", &block.up},
                    std::pair{"ffn_down", &block.down}};
}

std::string prefix_of(size_t layer) { return "blk." + std::to_string(layer) + "."; }

}  // namespace

Tensor Student::gain(const std::string& name, int64_t size) {
  Tensor tensor = at::ones({size}, at::device(device_).dtype(at::kFloat)).set_requires_grad(true);
  parameters_.push_back({name, tensor, false});
  return tensor;
}

LinearWeight Student::matrix(const std::string& name, int64_t out, int64_t in, double std,
                             WeightKind kind) {
  Tensor tensor =
      normal(out, in, std, seed_, parameters_.size()).to(device_).set_requires_grad(true);
  parameters_.push_back({name, tensor, true});
  const LinearMode integer = kind == WeightKind::ternary ? LinearMode::ternary : LinearMode::int8;
  return {tensor, quantized_ ? integer : LinearMode::dense, compute_, rule_};
}

Student::Student(const ModelConfig& config, bool quantized, at::ScalarType compute, uint64_t seed,
                 std::shared_ptr<const TernaryRule> rule, torch::Device device)
    : config_(config),
      quantized_(quantized),
      compute_(compute),
      seed_(seed),
      device_(device),
      rule_(std::move(rule)) {
  const auto d = static_cast<int64_t>(config.d_model);
  const auto f = static_cast<int64_t>(config.d_ff);
  const auto q_dim = static_cast<int64_t>(config.q_dim());
  const auto kv_dim = static_cast<int64_t>(config.kv_dim());
  const auto vocab = static_cast<int64_t>(config.vocab_size);
  const double in_std = 1.0 / std::sqrt(static_cast<double>(d));
  const double depth = 1.0 / std::sqrt(2.0 * config.n_layers);
  const WeightKind attention = config.attention_weights();
  const WeightKind mlp = config.mlp_weights();
  const auto table = [&](const std::string& name) {
    LinearWeight made = matrix(name, vocab, d, 0.02, WeightKind::int8);
    parameters_.back().is_matrix = false;
    return made;
  };
  embedding_ = table("token_embd.weight");
  if (!config.tied_embeddings) head_ = table("output.weight");
  for (uint32_t layer = 0; layer < config.n_layers; ++layer) {
    const std::string prefix = prefix_of(layer);
    Block block;
    block.attn_norm = gain(prefix + "attn_norm.weight", d);
    block.q = matrix(prefix + "attn_q.weight", q_dim, d, in_std, attention);
    block.k = matrix(prefix + "attn_k.weight", kv_dim, d, in_std, attention);
    block.v = matrix(prefix + "attn_v.weight", kv_dim, d, in_std, attention);
    if (config.qk_norm) block.q_norm = gain(prefix + "attn_q_norm.weight", config.head_dim);
    if (config.qk_norm) block.k_norm = gain(prefix + "attn_k_norm.weight", config.head_dim);
    if (config.sub_norm) block.attn_sub_norm = gain(prefix + "attn_sub_norm.weight", q_dim);
    block.o = matrix(prefix + "attn_output.weight", d, q_dim,
                     depth / std::sqrt(static_cast<double>(q_dim)), attention);
    block.ffn_norm = gain(prefix + "ffn_norm.weight", d);
    block.gate = matrix(prefix + "ffn_gate.weight", f, d, in_std, mlp);
    block.up = matrix(prefix + "ffn_up.weight", f, d, in_std, mlp);
    if (config.sub_norm) block.ffn_sub_norm = gain(prefix + "ffn_sub_norm.weight", f);
    block.down =
        matrix(prefix + "ffn_down.weight", d, f, depth / std::sqrt(static_cast<double>(f)), mlp);
    blocks_.push_back(std::move(block));
  }
  output_norm_ = gain("output_norm.weight", d);
  name_scales();
  const RopeTable rope = rope_table(config.max_context, config.head_dim, config.rope_theta);
  rope_ = {rope.cos.to(device_), rope.sin.to(device_)};
  refresh();
}

Student::Student(const ModelConfig& config, bool quantized, torch::Device device)
    : config_(config), quantized_(quantized), compute_(at::kFloat), seed_(0), device_(device) {}

Student Student::frozen(const ModelTensors& tensors, torch::Device device) {
  const ModelConfig& c = tensors.config;
  Student student(c, c.weights == WeightKind::ternary, device);
  const FrozenOn on{device};
  const bool ternary_attention = c.attention_weights() == WeightKind::ternary;
  const bool ternary_mlp = c.mlp_weights() == WeightKind::ternary;
  student.embedding_ = on.matrix(tensors.embedding, false);
  if (!c.tied_embeddings) student.head_ = on.matrix(tensors.head, false);
  student.output_norm_ = on.gain(tensors.output_norm);
  for (const LayerTensors& layer : tensors.layers) {
    student.blocks_.push_back({.attn_norm = on.gain(layer.attn_norm),
                               .ffn_norm = on.gain(layer.ffn_norm),
                               .q_norm = on.gain(layer.q_norm),
                               .k_norm = on.gain(layer.k_norm),
                               .attn_sub_norm = on.gain(layer.attn_sub_norm),
                               .ffn_sub_norm = on.gain(layer.ffn_sub_norm),
                               .q = on.matrix(layer.q, ternary_attention),
                               .k = on.matrix(layer.k, ternary_attention),
                               .v = on.matrix(layer.v, ternary_attention),
                               .o = on.matrix(layer.o, ternary_attention),
                               .gate = on.matrix(layer.gate, ternary_mlp),
                               .up = on.matrix(layer.up, ternary_mlp),
                               .down = on.matrix(layer.down, ternary_mlp)});
  }
  const RopeTable rope = rope_table(c.max_context, c.head_dim, c.rope_theta);
  student.rope_ = {rope.cos.to(device), rope.sin.to(device)};
  return student;
}

// Behind all others: the latents that a seed draws do not depend on the rule.
void Student::name_scales() {
  for (size_t layer = 0; layer < blocks_.size(); ++layer) {
    for (const auto& [name, weight] : matrices_of(blocks_[layer])) {
      if (!weight->log_scale().defined()) continue;
      parameters_.push_back(
          {prefix_of(layer) + name + ".log_scale", weight->log_scale(), false, true});
    }
  }
}

void Student::restart_scales() {
  for (Block& block : blocks_) {
    for (const auto& [name, weight] : matrices_of(block)) weight->restart_scale();
  }
}

void Student::start_from_ternary(const std::function<bool(const std::string& name)>& is_ternary) {
  for (size_t layer = 0; layer < blocks_.size(); ++layer) {
    for (const auto& [name, weight] : matrices_of(blocks_[layer])) {
      if (is_ternary(prefix_of(layer) + name + ".weight")) weight->start_from_ternary();
    }
  }
}

// B is 0, so what was derived of the base still holds.
void Student::adapt(const job::LoraSpec& lora) {
  CHECK(!quantized_ && !is_adapted());
  base_ = std::exchange(parameters_, {});
  for (const NamedParameter& kept : base_) Tensor(kept.tensor).set_requires_grad(false);
  const auto factor = [&](const std::string& name, const Tensor& values) {
    Tensor tensor = values.to(device_).set_requires_grad(true);
    parameters_.push_back({.name = name, .tensor = tensor, .is_factor = true});
    return tensor;
  };
  for (size_t layer = 0; layer < blocks_.size(); ++layer) {
    for (const auto& [name, weight] : matrices_of(blocks_[layer])) {
      if (!lora.is_target(name)) continue;
      const int64_t out = weight->latent().size(0);
      const int64_t in = weight->latent().size(1);
      const double std = 1.0 / std::sqrt(static_cast<double>(in));
      const Tensor drawn = normal(lora.rank, in, std, seed_, base_.size() + parameters_.size());
      const std::string prefix = prefix_of(layer) + name;
      const Tensor a = factor(prefix + ".lora_a", drawn);
      const Tensor b = factor(prefix + ".lora_b", at::zeros({out, lora.rank}, at::kFloat));
      weight->adapt({a, b, lora.scale(), compute_});
    }
  }
}

std::vector<NamedParameter> Student::model_tensors() const {
  std::vector<NamedParameter> tensors = is_adapted() ? base_ : parameters_;
  for (const Block& block : blocks_) {
    for (const auto& [name, weight] : matrices_of(block)) {
      if (!weight->low_rank()) continue;
      const auto found = std::ranges::find_if(tensors, [&](const NamedParameter& parameter) {
        return parameter.tensor.is_same(weight->latent());
      });
      CHECK(found != tensors.end());
      found->tensor = weight->merged();
    }
  }
  return tensors;
}

std::vector<LinearWeight*> Student::weights() {
  std::vector<LinearWeight*> all = {&embedding_};
  if (!config_.tied_embeddings) all.push_back(&head_);
  for (Block& block : blocks_) {
    for (const auto& [name, weight] : matrices_of(block)) all.push_back(weight);
  }
  return all;
}

double Student::strength_of(const LinearWeight& weight) const {
  return &weight == &embedding_ || &weight == &head_ ? 1.0 : strength_;
}

void Student::refresh() {
  for (LinearWeight* weight : weights()) weight->refresh(strength_of(*weight));
}

void Student::set_activation_bits(uint32_t bits, uint32_t down_bits) {
  config_.activation_bits = bits;
  config_.down_activation_bits = down_bits;
  CHECK(check_config(config_).has_value());
}

LinearInput Student::sub_norm(const Tensor& x, const Tensor& gain, const LinearWeight& next,
                              float limit) const {
  if (!gain.defined()) return x;
  if (calibrating_) Tensor(gain).fill_(x.square().mean().sqrt().item<double>());
  return normed_input(x, gain, config_.norm_eps, next, limit);
}

void Student::calibrate_sub_norms(const Tensor& tokens, const Tensor& segment_start) {
  const torch::NoGradGuard no_grad;
  for (LinearWeight* weight : weights()) {
    const bool partly = !weight->log_scale().defined() && !weight->bias().defined();
    weight->refresh(partly ? 0 : 1);
  }
  calibrating_ = true;
  hidden(tokens, segment_start);
  calibrating_ = false;
}

Tensor Student::attention(const Block& block, const Tensor& h, const Tensor& segment_start) const {
  const int64_t batch = segment_start.size(0);
  const int64_t tokens = segment_start.size(1);
  const auto groups = static_cast<int64_t>(config_.n_kv_heads);
  const auto head_dim = static_cast<int64_t>(config_.head_dim);
  const int64_t repeats = config_.n_heads / config_.n_kv_heads;
  const double eps = config_.norm_eps;
  const float limit = config_.attention_limit();
  const LinearInput x = normed_input(h, block.attn_norm, eps, block.q, limit);
  const auto qkv = linear_group(x, {&block.q, &block.k, &block.v}, limit);
  if (recorded_layer_ >= 0 && &block == &blocks_[static_cast<size_t>(recorded_layer_)]) {
    states_ = {qkv[0], qkv[1], qkv[2]};
  }
  const Tensor q = norm_rope_heads(qkv[0], block.q_norm, eps, rope_, batch, groups);
  const Tensor k = norm_rope_heads(qkv[1], block.k_norm, eps, rope_, batch, groups);
  const Tensor v = qkv[2]
                       .view({batch, tokens, groups, head_dim})
                       .transpose(1, 2)
                       .reshape({batch * groups, tokens, head_dim});
  Tensor o = segment_attention(q, k, v, segment_start, config_.attention_softcap, compute_);
  o = o.view({batch, groups, tokens, repeats * head_dim})
          .transpose(1, 2)
          .reshape({batch * tokens, groups * repeats * head_dim});
  return linear_group(sub_norm(o, block.attn_sub_norm, block.o, limit), {&block.o}, limit)[0];
}

Tensor Student::mlp(const Block& block, const Tensor& h) const {
  const float limit = config_.mlp_limit();
  const LinearInput x = normed_input(h, block.ffn_norm, config_.norm_eps, block.gate, limit);
  const auto gate_up = linear_group(x, {&block.gate, &block.up}, limit);
  const Tensor inner = glu(gate_up[0], gate_up[1], config_.activation);
  const float down_limit = config_.down_limit();
  return linear_group(sub_norm(inner, block.ffn_sub_norm, block.down, down_limit), {&block.down},
                      down_limit)[0];
}

Tensor Student::through(const Block& block, const Tensor& h, const Tensor& first_seen,
                        std::vector<double>* gains) const {
  const Tensor attended = attention(block, h, first_seen);
  if (gains != nullptr) gains->push_back(gain_of(attended, h));
  const Tensor between = h + attended;
  const Tensor transformed = mlp(block, between);
  if (gains != nullptr) gains->push_back(gain_of(transformed, between));
  return between + transformed;
}

Tensor Student::hidden(const Tensor& given_tokens, const Tensor& given_start) const {
  CHECK(given_tokens.dim() == 2 && given_tokens.size(1) <= config_.max_context);
  const Tensor tokens = given_tokens.to(device_);
  const Tensor segment_start = given_start.to(device_);
  if (recording_) gains_.clear();
  // A window is a text that begins later for every token.
  const int64_t window = config_.sliding_window;
  const Tensor positions = at::arange(tokens.size(1), segment_start.options());
  const Tensor first_seen =
      window == 0 ? segment_start : at::maximum(segment_start, positions - (window - 1));
  Tensor h = EmbeddingRows::apply(embedding_.latent(), &embedding_, tokens.reshape({-1}));
  // An adapted table learns nothing, but gradient checkpointing asks its input for what is behind.
  if (is_adapted() && torch::GradMode::is_enabled()) h.set_requires_grad(true);
  for (const Block& block : blocks_) {
    const auto run = [this, &block, first_seen](const Tensor& x, Pass pass) {
      return through(block, x, first_seen, recording_ && pass == Pass::forward ? &gains_ : nullptr);
    };
    h = recomputing_ ? recomputed(h, run) : run(h, Pass::forward);
  }
  return rms_norm(h, output_norm_, config_.norm_eps);
}

Tensor Student::loss(const Batch& batch, const LossWeights& weights, LossSums& sums,
                     const std::optional<LabelCounts>& whole) const {
  const Tensor loss =
      head_loss(hidden(batch.tokens, batch.segment_start), head(), batch.labels.reshape({-1}),
                batch.teacher, weights, sums, whole, batch.dense);
  if (!batch.relation[0].defined()) return loss;
  CHECK(recorded_layer_ >= 0);
  RelatedTokens tokens = related_tokens(batch.labels, batch.segment_start);
  if (whole) tokens.count = whole->related;
  const Tensor relation =
      attention_relation_loss(states_, batch.relation, tokens, weights.relation_heads);
  sums.relation = relation.item<double>();
  const int64_t labelled = whole ? whole->labelled : sums.tokens;
  sums.weighted += weights.relation * sums.relation * static_cast<double>(labelled);
  return loss + weights.scale * weights.relation * relation;
}

Tensor Student::logits(const Tensor& tokens, const Tensor& segment_start) const {
  const torch::NoGradGuard no_grad;
  Tensor out = linear_group(hidden(tokens, segment_start), {&head()})[0];
  const double cap = config_.logit_softcap;
  return cap > 0 ? cap * at::tanh(out / cap) : out;
}

}  // namespace tristill::train
