#include "train/run/memory_plan.h"

#include <algorithm>
#include <bit>
#include <utility>
#include <vector>

#include "train/distributed/shard_layout.h"

namespace tristill::train {
namespace {

using job::OptimizerKind;

constexpr uint64_t kFloat = 4;
constexpr uint64_t kId = 8;
// Tokens whose logits exist at once: loss/head_loss, device/head_loss.
constexpr uint64_t kHeadChunk = 1024;
constexpr uint64_t kDeviceHeadChunk = 4096;

// Bytes that are held, and the most that ever were.
class Ledger {
 public:
  void hold(uint64_t bytes, const char* phase) {
    held_ += bytes;
    if (held_ <= peak_) return;
    peak_ = held_;
    peak_at_ = phase;
  }
  void release(uint64_t bytes) { held_ -= bytes; }
  // Held for a moment.
  void touch(uint64_t bytes, const char* phase) {
    hold(bytes, phase);
    release(bytes);
  }
  uint64_t peak() const { return peak_; }
  const std::string& peak_at() const { return peak_at_; }

 private:
  uint64_t held_ = 0, peak_ = 0;
  std::string peak_at_;
};

struct Matrix {
  uint64_t rows, cols;
  bool ternary;
  bool trained = true;  // itself
  uint64_t rank = 0;    // of the factors that are trained in its place; 0: none
  uint64_t size() const { return rows * cols; }
  uint64_t factors() const { return rank * (rows + cols); }
  bool learns() const { return trained || rank > 0; }
};

// A block's matrices, as job::block_matrices has them.
enum Place : size_t { kQ, kK, kV, kO, kGate, kUp, kDown };

// A parameter, as the optimiser and what goes between ranks see it.
struct Parameter {
  int64_t elements;
  int64_t cost;      // of its step: distributed/shard_layout
  uint64_t moments;  // numbers that the optimiser keeps of an element
};

// What is the rank's of which the optimiser keeps most.
struct RankShare {
  int rank = 0;
  uint64_t elements = 0;    // of the parameters that it owns
  uint64_t moments = 0;     // numbers of the optimiser's state
  uint64_t buffer = 0;      // bytes in which gradients are summed; 0: alone
  uint64_t of_partner = 0;  // bytes that come beside it at once
};

RankShare largest_share(const std::vector<Parameter>& parameters, uint32_t ranks) {
  std::vector<int64_t> costs, sizes;
  for (const Parameter& parameter : parameters) {
    costs.push_back(parameter.cost);
    sizes.push_back(parameter.elements);
  }
  const auto n_ranks = static_cast<int>(ranks);
  const std::vector<int> owners = share_out(costs, n_ranks);
  std::vector<RankShare> shares(ranks);
  for (size_t i = 0; i < parameters.size(); ++i) {
    RankShare& owner = shares[static_cast<size_t>(owners[i])];
    const auto elements = static_cast<uint64_t>(sizes[i]);
    owner.elements += elements;
    owner.moments += elements * parameters[i].moments;
  }
  const auto most = std::ranges::max_element(shares, {}, &RankShare::moments);
  most->rank = static_cast<int>(most - shares.begin());
  if (ranks == 1) return *most;
  const ShardLayout layout(sizes, owners, n_ranks);
  most->buffer = static_cast<uint64_t>(layout.total()) * kFloat;
  most->of_partner = static_cast<uint64_t>(layout.part(most->rank, 1).size()) * kFloat;
  return *most;
}

// The walk. n is the tokens of a micro-batch; every quantity is in bytes unless it is a width.
class Walk {
 public:
  Walk(const job::TrainSpec& spec, const PlanOptions& options)
      : spec_(spec),
        options_(options),
        c_(spec.model),
        batch_(std::max<uint64_t>(1, spec.batch_tokens / spec.sequence_length) *
               spec.sequence_length),
        n_(batch_ / spec.micro_batches),
        compute_(spec.precision == job::Precision::fp32 ? 4 : 2),
        table_{c_.vocab_size, c_.d_model, false, !spec.lora} {
    for (const job::BlockMatrix& m : job::block_matrices(c_)) {
      const bool in_attention = layers_.size() < kGate;
      const WeightKind kind = in_attention ? c_.attention_weights() : c_.mlp_weights();
      const bool adapted = spec.lora && spec.lora->is_target(m.name);
      layers_.push_back({m.out, m.in, is_ternary(kind), !spec.lora, adapted ? spec.lora->rank : 0});
    }
    share_ = largest_share(parameters(), spec.ranks);
  }

  MemoryPlan plan() {
    enter_state();
    forward();
    backward();
    optimize(reduce());
    requantize();
    plan_.peak = ledger_.peak();
    plan_.peak_at = ledger_.peak_at();
    return plan_;
  }

 private:
  bool is_ternary(WeightKind kind) const { return spec_.quantized && kind == WeightKind::ternary; }
  bool is_integer() const { return spec_.quantized && spec_.quantization.lambda_warmup_steps == 0; }
  uint64_t tables() const { return c_.tied_embeddings ? 1 : 2; }
  uint64_t rows(uint64_t width) const { return n_ * width * kFloat; }
  // A tensor of n numbers in the compute type, made of one in fp32; fp32 itself is not copied.
  uint64_t converted(uint64_t numbers) const { return compute_ == kFloat ? 0 : numbers * compute_; }
  // What linear layers keep of the input that they share for the backward pass.
  uint64_t kept_input(const std::vector<Place>& group) const {
    const uint64_t width = layers_[group[0]].cols;
    if (is_integer()) return n_ * (width + kFloat);
    const bool learns =
        std::ranges::any_of(group, [&](Place place) { return layers_[place].learns(); });
    return learns ? n_ * width * compute_ : 0;
  }
  // A tensor that an optimiser's rule steps.
  static Parameter parameter(uint64_t out, uint64_t in, OptimizerKind rule) {
    const bool is_muons = rule == OptimizerKind::muon || rule == OptimizerKind::distillix_muon;
    const auto elements = static_cast<int64_t>(out * in);
    const auto side = static_cast<int64_t>(is_muons ? std::min(out, in) : 0);
    uint64_t moments = 1;
    if (rule == OptimizerKind::adamw) moments = 2;
    if (rule == OptimizerKind::sgld) moments = 0;
    return {elements, step_cost(elements, side), moments};
  }
  static Parameter gain(uint64_t width) { return parameter(width, 1, OptimizerKind::adamw); }
  // Of tables and factors: optim/optimizer.
  OptimizerKind rule_beside_matrices() const {
    const bool is_one = spec_.optimizer.kind == OptimizerKind::distillix_muon;
    return is_one ? spec_.optimizer.kind : OptimizerKind::adamw;
  }

  // What is trained, in the order of the student's parameters, by which ranks share them out.
  // Learned scales, a number each, are left out.
  std::vector<Parameter> parameters() const {
    std::vector<Parameter> all;
    if (spec_.lora) {
      for (uint32_t layer = 0; layer < c_.n_layers; ++layer) add_factors(all);
      return all;
    }
    all.assign(tables(), parameter(table_.rows, table_.cols, rule_beside_matrices()));
    for (uint32_t layer = 0; layer < c_.n_layers; ++layer) add_block(all);
    all.push_back(gain(c_.d_model));
    return all;
  }
  void add_factors(std::vector<Parameter>& all) const {
    for (const Matrix& m : layers_) {
      if (m.rank == 0) continue;
      all.push_back(parameter(m.rank, m.cols, rule_beside_matrices()));
      all.push_back(parameter(m.rows, m.rank, rule_beside_matrices()));
    }
  }
  void add_block(std::vector<Parameter>& all) const {
    const auto add = [&](Place place) {
      all.push_back(parameter(layers_[place].rows, layers_[place].cols, spec_.optimizer.kind));
    };
    all.push_back(gain(c_.d_model));
    for (const Place place : {kQ, kK, kV}) add(place);
    if (c_.qk_norm) all.insert(all.end(), 2, gain(c_.head_dim));
    if (c_.sub_norm) all.push_back(gain(c_.q_dim()));
    add(kO);
    all.push_back(gain(c_.d_model));
    for (const Place place : {kGate, kUp}) add(place);
    if (c_.sub_norm) all.push_back(gain(c_.d_ff));
    add(kDown);
  }

  uint64_t derived_of(const Matrix& m) const {
    if (!spec_.quantized) return m.size() * compute_ + converted(m.factors());
    return m.size() * (1 + compute_) + m.rows * 4 + (m.ternary ? 4 : m.rows * kFloat);
  }
  uint64_t norms_of_a_layer() const {
    uint64_t width = 2 * uint64_t{c_.d_model};
    if (c_.qk_norm) width += 2 * uint64_t{c_.head_dim};
    if (c_.sub_norm) width += c_.q_dim() + uint64_t{c_.d_ff};
    return width;
  }

  void enter_state() {
    uint64_t matrices = 0, derived = 0, factors = 0;
    for (const Matrix& m : layers_) {
      matrices += m.size() * c_.n_layers;
      derived += derived_of(m) * c_.n_layers;
      factors += m.factors() * c_.n_layers;
    }
    const uint64_t tables_size = tables() * table_.size();
    const uint64_t others = tables_size + c_.n_layers * norms_of_a_layer() + c_.d_model;
    const uint64_t trained = spec_.lora ? factors : matrices + others;
    plan_.latents = (matrices + others + factors) * kFloat;
    plan_.gradients = trained * kFloat;
    plan_.optimizer = share_.moments * kFloat;
    plan_.rank = share_.rank;
    if (options_.exchanges) plan_.exchange = share_.buffer + share_.of_partner;
    plan_.derived = derived + tables() * derived_of(table_);
    const uint64_t rope = uint64_t{c_.max_context} * c_.head_dim * kFloat;
    // Tokens twice, labels, segments twice. Another batch is packed ahead, of 20 bytes a token:
    // too little to be seen, and no batch of a trial.
    const uint64_t batch = batch_ * (3 * kId + 2 * 4);
    ledger_.hold(plan_.latents + plan_.optimizer + plan_.derived + rope + batch, "state");
    ledger_.hold(waiting_sums(), "state");
  }

  // Sums of this rank's micro-batches that wait for others: run/gradient_tree.
  uint64_t waiting_sums() const {
    return (std::bit_width(spec_.micro_batches / spec_.ranks) - 1) * plan_.gradients;
  }

  // Saved by a layer: the inputs of its norms, of its products, of attention and of the GLU.
  uint64_t saved_by_mlp() const {
    uint64_t saved = rows(c_.d_model) + kept_input({kGate, kUp}) + 2 * rows(c_.d_ff);
    if (c_.sub_norm) saved += rows(c_.d_ff);
    return saved + kept_input({kDown});
  }
  uint64_t saved_by_attention() const {
    // Queries and keys before and after their rotation, values, what attention gives.
    uint64_t saved = rows(c_.d_model) + kept_input({kQ, kK, kV}) + 2 * rows(c_.q_dim()) +
                     2 * rows(c_.kv_dim()) + rows(c_.kv_dim()) + rows(c_.q_dim());
    if (c_.sub_norm) saved += rows(c_.q_dim());
    return saved + kept_input({kO});
  }

  uint64_t saved_by_layer() const { return saved_by_attention() + saved_by_mlp(); }

  void forward() {
    const uint64_t d = rows(c_.d_model);
    const bool again = spec_.gradient_checkpointing;
    plan_.activations = c_.n_layers * (again ? d : saved_by_layer()) + d;
    ledger_.hold(plan_.activations, "forward");
    // The last product of the last layer, while its input still exists as floats; or, where nothing
    // is saved, the GLU's norm, while its input and the GLU's exist.
    ledger_.touch(again ? 4 * rows(c_.d_ff) + 3 * d : rows(c_.d_ff) + d, "forward");
    // The head: hidden states, the gradients that it saves, one chunk of logits.
    const uint64_t chunk = std::min(options_.on_cpu ? kHeadChunk : kDeviceHeadChunk, n_);
    const uint64_t logits = chunk * c_.vocab_size * kFloat + converted(chunk * c_.vocab_size);
    const uint64_t inputs = converted(chunk * c_.d_model) + chunk * c_.d_model;
    const uint64_t trained = table_.trained ? table_.size() : 0;
    ledger_.hold(d + d + trained * kFloat, "loss");
    // The gradient's product in the compute type, and that again as the sum takes it.
    const uint64_t product = trained * compute_ + converted(trained) / compute_ * kFloat;
    ledger_.touch(logits + inputs + product, "loss");
    ledger_.release(d);
  }

  // The gradients of what a matrix learns, in the order of LinearWeight::backward.
  void backward_learned(const Matrix& m) {
    if (m.rank > 0) {
      const uint64_t narrow = n_ * m.rank * compute_;
      ledger_.touch(narrow + converted(m.factors()) + m.factors() * kFloat, "backward");
      ledger_.hold(m.factors() * kFloat, "backward");  // the gradients, which stay
    }
    if (!m.trained) return;
    if (is_integer()) ledger_.touch(rows(m.rows) + converted(n_ * m.rows), "backward");
    const uint64_t scaled = is_integer() ? n_ * m.rows * compute_ : 0;
    ledger_.hold(scaled, "backward");
    ledger_.touch(converted(m.size()) + m.size() * kFloat, "backward");
    ledger_.hold(m.size() * kFloat, "backward");
    ledger_.release(scaled);
  }

  // Backward of y = x W^t, in the order of LinearGroup::backward; dy is held by the caller.
  void backward_product(const std::vector<Place>& group) {
    const uint64_t in = layers_[group[0]].cols;
    const uint64_t x = is_integer() ? n_ * in * compute_ : 0;
    ledger_.hold(x, "backward");
    const uint64_t part = n_ * in * compute_;
    for (size_t i = 0; i < group.size(); ++i) {
      const Matrix& m = layers_[group[i]];
      const uint64_t dy = converted(n_ * m.rows);
      ledger_.hold(dy, "backward");
      ledger_.touch(i == 0 ? part : 2 * part, "backward");
      ledger_.hold(part, "backward");
      if (i > 0) ledger_.release(part);
      backward_learned(m);
      ledger_.release(dy);
    }
    if (compute_ != kFloat) ledger_.touch(rows(in), "backward");
    ledger_.release(part + x);
    ledger_.release(kept_input(group));
    ledger_.hold(rows(in), "backward");
  }

  // Of RMSNorm [n, width]: dy becomes dx, the saved input goes.
  void backward_norm(uint64_t width) {
    ledger_.touch(rows(width), "backward");
    ledger_.release(rows(width));
  }

  void backward_mlp() {
    const uint64_t d = rows(c_.d_model), f = rows(c_.d_ff);
    backward_product({kDown});
    if (c_.sub_norm) backward_norm(c_.d_ff);
    ledger_.hold(2 * f, "backward");
    ledger_.release(f + 2 * f);  // dy, gate and up
    backward_product({kGate, kUp});
    ledger_.release(2 * f);
    backward_norm(c_.d_model);
    ledger_.touch(d, "backward");  // the sum with the residual's gradient
    ledger_.release(d);
  }

  void backward_attention() {
    const uint64_t d = rows(c_.d_model), q = rows(c_.q_dim()), kv = rows(c_.kv_dim());
    backward_product({kO});
    if (c_.sub_norm) backward_norm(c_.q_dim());
    ledger_.touch(q, "backward");  // regathered by KV head
    ledger_.hold(q + 2 * kv, "backward");  // of queries, keys, values
    ledger_.release(q + q + 2 * kv + q);  // dy; what attention saved: q, k, v, o
    ledger_.touch(q, "backward");  // rotated back
    ledger_.release(q + kv);  // queries and keys before their rotation
    backward_product({kQ, kK, kV});
    ledger_.release(q + 2 * kv);
    backward_norm(c_.d_model);
    ledger_.touch(d, "backward");
    ledger_.release(d);
  }

  // Gradient checkpointing: a layer's input becomes all that the layer saves, its output, and the
  // gradient of that, which lives until the layer is done.
  void run_again() {
    const uint64_t d = rows(c_.d_model);
    ledger_.hold(saved_by_layer() - d, "backward");
    ledger_.touch(rows(c_.d_ff) + 2 * d, "backward");
    ledger_.hold(2 * d, "backward");
  }

  void backward() {
    const uint64_t d = rows(c_.d_model);
    const uint64_t table = table_.trained ? table_.size() * kFloat : 0;
    ledger_.hold(d + table, "backward");  // the head's gradients, times the loss'
    ledger_.release(d + table);  // as they were saved
    backward_norm(c_.d_model);
    for (uint32_t layer = 0; layer < c_.n_layers; ++layer) {
      if (spec_.gradient_checkpointing) run_again();
      backward_mlp();
      backward_attention();
      if (spec_.gradient_checkpointing) ledger_.release(2 * d);
    }
    ledger_.touch(table, "backward");  // of the embedding's rows, beside the head's
    if (!c_.tied_embeddings) ledger_.hold(table, "backward");
    ledger_.release(d);
  }

  // What is left of the gradients for the optimiser: those that this rank owns. On the CPU they are
  // views of the buffer in which all were summed (distributed/shard_exchange). The weights that
  // come back take a buffer that is no larger, when the gradients are gone.
  uint64_t reduce() {
    ledger_.release(waiting_sums());
    if (spec_.ranks == 1) return plan_.gradients;
    if (!options_.exchanges || !options_.on_cpu) {
      const uint64_t owned = share_.elements * kFloat;
      ledger_.release(plan_.gradients - owned);
      return owned;
    }
    ledger_.hold(share_.buffer, "exchange");
    ledger_.release(plan_.gradients);
    ledger_.touch(share_.of_partner, "exchange");
    return share_.buffer;
  }

  // As if this rank owned the matrix that takes most.
  void optimize(uint64_t gradients) {
    // AdamW: one tensor and its root in place.
    uint64_t most = table_.trained ? 3 * table_.size() * kFloat / 2 : 0;
    for (const Matrix& m : layers_) {
      most = std::max(most, m.rank * std::max(m.rows, m.cols) * kFloat);
      if (!m.trained) continue;
      const uint64_t square = std::min(m.rows, m.cols) * std::min(m.rows, m.cols) * compute_;
      const uint64_t muon = m.size() * (kFloat + 3 * compute_) + 3 * square;
      const bool plain = spec_.optimizer.kind == OptimizerKind::adamw ||
                         spec_.optimizer.kind == OptimizerKind::sgld;
      most = std::max(most, plain ? m.size() * kFloat : muon);
    }
    ledger_.touch(most, "optimizer");
    ledger_.release(gradients);
  }

  // While a matrix is derived anew, beside what was derived before.
  uint64_t derived_anew(const Matrix& m) const {
    if (spec_.quantized) return m.size() * (kFloat + compute_);
    return m.rank > 0 ? m.size() * kFloat + converted(m.size()) : m.size() * compute_;
  }

  void requantize() {
    uint64_t most = derived_anew(table_);
    for (const Matrix& m : layers_) most = std::max(most, derived_anew(m));
    ledger_.touch(most, "quantisation");
  }

  const job::TrainSpec& spec_;
  const PlanOptions options_;
  const ModelConfig& c_;
  uint64_t batch_;  // tokens of a step
  uint64_t n_;  // tokens whose activations exist at once
  uint64_t compute_;
  std::vector<Matrix> layers_;
  Matrix table_;
  RankShare share_;
  Ledger ledger_;
  MemoryPlan plan_;
};

}  // namespace

MemoryPlan plan_memory(const job::TrainSpec& spec, const PlanOptions& options) {
  return Walk(spec, options).plan();
}

}  // namespace tristill::train
