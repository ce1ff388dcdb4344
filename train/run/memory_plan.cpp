#include "train/run/memory_plan.h"

#include <algorithm>
#include <bit>
#include <utility>
#include <vector>

namespace tristill::train {
namespace {

constexpr uint64_t kFloat = 4;
constexpr uint64_t kId = 8;
constexpr uint64_t kHeadChunk = 1024;  // tokens whose logits exist at once: loss/head_loss

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
  uint64_t size() const { return rows * cols; }
};

// The walk. n is the tokens of a micro-batch; every quantity is in bytes unless it is a width.
class Walk {
 public:
  explicit Walk(const job::TrainSpec& spec)
      : spec_(spec),
        c_(spec.model),
        batch_(std::max<uint64_t>(1, spec.batch_tokens / spec.sequence_length) *
               spec.sequence_length),
        n_(batch_ / spec.micro_batches),
        compute_(spec.precision == job::Precision::fp32 ? 4 : 2),
        layers_{{c_.q_dim(), c_.d_model, is_ternary(c_.attention_weights())},
                {c_.kv_dim(), c_.d_model, is_ternary(c_.attention_weights())},
                {c_.kv_dim(), c_.d_model, is_ternary(c_.attention_weights())},
                {c_.d_model, c_.q_dim(), is_ternary(c_.attention_weights())},
                {c_.d_ff, c_.d_model, is_ternary(c_.mlp_weights())},
                {c_.d_ff, c_.d_model, is_ternary(c_.mlp_weights())},
                {c_.d_model, c_.d_ff, is_ternary(c_.mlp_weights())}},
        table_{c_.vocab_size, c_.d_model, false} {}

  MemoryPlan plan() {
    enter_state();
    forward();
    backward();
    optimize();
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
  // What a linear layer keeps of its input for the backward pass.
  uint64_t kept_input(uint64_t width) const {
    return is_integer() ? n_ * (width + kFloat) : n_ * width * compute_;
  }
  uint64_t derived_of(const Matrix& m) const {
    if (!spec_.quantized) return m.size() * compute_;
    return m.size() * (1 + compute_) + m.rows * 4 + (m.ternary ? 4 : m.rows * kFloat);
  }
  uint64_t norms_of_a_layer() const {
    uint64_t width = 2 * uint64_t{c_.d_model};
    if (c_.qk_norm) width += 2 * uint64_t{c_.head_dim};
    if (c_.sub_norm) width += c_.q_dim() + uint64_t{c_.d_ff};
    return width;
  }

  void enter_state() {
    uint64_t matrices = 0, derived = 0;
    for (const Matrix& m : layers_) {
      matrices += m.size();
      derived += derived_of(m);
    }
    matrices *= c_.n_layers;
    const uint64_t tables_size = tables() * table_.size();
    const uint64_t others = tables_size + c_.n_layers * norms_of_a_layer() + c_.d_model;
    plan_.latents = (matrices + others) * kFloat;
    plan_.gradients = plan_.latents;
    const bool adamw = spec_.optimizer.kind == job::OptimizerKind::adamw;
    const bool tables_too = spec_.optimizer.kind == job::OptimizerKind::distillix_muon;
    const uint64_t second_moments =
        others + (adamw ? matrices : 0) - (tables_too ? tables_size : 0);
    plan_.optimizer = plan_.latents + second_moments * kFloat;
    plan_.derived = derived * c_.n_layers + tables() * derived_of(table_);
    const uint64_t rope = uint64_t{c_.max_context} * c_.head_dim * kFloat;
    // Tokens twice, labels, segments twice. Another batch is packed ahead, of 20 bytes a token:
    // too little to be seen, and no batch of a trial.
    const uint64_t batch = batch_ * (3 * kId + 2 * 4);
    ledger_.hold(plan_.latents + plan_.optimizer + plan_.derived + rope + batch, "state");
    ledger_.hold(waiting_sums(), "state");
  }

  // Sums of micro-batches that wait for others: run/gradient_tree.
  uint64_t waiting_sums() const {
    return (std::bit_width(spec_.micro_batches) - 1) * plan_.gradients;
  }

  // Saved by a layer: the inputs of its norms, of its products, of attention and of the GLU.
  uint64_t saved_by_mlp() const {
    uint64_t saved = rows(c_.d_model) + kept_input(c_.d_model) + 2 * rows(c_.d_ff);
    if (c_.sub_norm) saved += rows(c_.d_ff);
    return saved + kept_input(c_.d_ff);
  }
  uint64_t saved_by_attention() const {
    // Queries and keys before and after their rotation, values, what attention gives.
    uint64_t saved = rows(c_.d_model) + kept_input(c_.d_model) + 2 * rows(c_.q_dim()) +
                     2 * rows(c_.kv_dim()) + rows(c_.kv_dim()) + rows(c_.q_dim());
    if (c_.sub_norm) saved += rows(c_.q_dim());
    return saved + kept_input(c_.q_dim());
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
    // The head: hidden states, both gradients that it saves, one chunk of logits.
    const uint64_t chunk = std::min(kHeadChunk, n_);
    const uint64_t logits = chunk * c_.vocab_size * kFloat + converted(chunk * c_.vocab_size);
    const uint64_t inputs = converted(chunk * c_.d_model) + chunk * c_.d_model;
    ledger_.hold(d + d + table_.size() * kFloat, "loss");
    // The gradient's product in the compute type, and that again as the sum takes it.
    const uint64_t product =
        table_.size() * compute_ + converted(table_.size()) / compute_ * kFloat;
    ledger_.touch(logits + inputs + product, "loss");
    ledger_.release(d);
  }

  // Backward of y = x W^t, in the order of LinearGroup::backward; dy is held by the caller.
  void backward_product(uint64_t in, const std::vector<uint64_t>& outs) {
    const uint64_t x = is_integer() ? n_ * in * compute_ : 0;
    ledger_.hold(x, "backward");
    const uint64_t part = n_ * in * compute_;
    for (size_t i = 0; i < outs.size(); ++i) {
      const uint64_t dy = converted(n_ * outs[i]);
      ledger_.hold(dy, "backward");
      ledger_.touch(i == 0 ? part : 2 * part, "backward");
      ledger_.hold(part, "backward");
      if (i > 0) ledger_.release(part);
      if (is_integer()) ledger_.touch(rows(outs[i]) + dy, "backward");
      const uint64_t scaled = is_integer() ? n_ * outs[i] * compute_ : 0;
      ledger_.hold(scaled, "backward");
      ledger_.touch(converted(outs[i] * in) + outs[i] * in * kFloat, "backward");
      ledger_.hold(outs[i] * in * kFloat, "backward");  // the gradient, which stays
      ledger_.release(dy + scaled);
    }
    if (compute_ != kFloat) ledger_.touch(rows(in), "backward");
    ledger_.release(part + x);
    ledger_.release(kept_input(in));
    ledger_.hold(rows(in), "backward");
  }

  // Of RMSNorm [n, width]: dy becomes dx, the saved input goes.
  void backward_norm(uint64_t width) {
    ledger_.touch(rows(width), "backward");
    ledger_.release(rows(width));
  }

  void backward_mlp() {
    const uint64_t d = rows(c_.d_model), f = rows(c_.d_ff);
    backward_product(c_.d_ff, {c_.d_model});
    if (c_.sub_norm) backward_norm(c_.d_ff);
    ledger_.hold(2 * f, "backward");
    ledger_.release(f + 2 * f);  // dy, gate and up
    backward_product(c_.d_model, {c_.d_ff, c_.d_ff});
    ledger_.release(2 * f);
    backward_norm(c_.d_model);
    ledger_.touch(d, "backward");  // the sum with the residual's gradient
    ledger_.release(d);
  }

  void backward_attention() {
    const uint64_t d = rows(c_.d_model), q = rows(c_.q_dim()), kv = rows(c_.kv_dim());
    backward_product(c_.q_dim(), {c_.d_model});
    if (c_.sub_norm) backward_norm(c_.q_dim());
    ledger_.touch(q, "backward");  // regathered by KV head
    ledger_.hold(q + 2 * kv, "backward");  // of queries, keys, values
    ledger_.release(q + q + 2 * kv + q);  // dy; what attention saved: q, k, v, o
    ledger_.touch(q, "backward");  // rotated back
    ledger_.release(q + kv);  // queries and keys before their rotation
    backward_product(c_.d_model, {c_.q_dim(), c_.kv_dim(), c_.kv_dim()});
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
    const uint64_t table = table_.size() * kFloat;
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

  void optimize() {
    uint64_t most = 3 * table_.size() * kFloat / 2;  // AdamW: one tensor and its root in place
    for (const Matrix& m : layers_) {
      const uint64_t square = std::min(m.rows, m.cols) * std::min(m.rows, m.cols) * compute_;
      const uint64_t muon = m.size() * (kFloat + 3 * compute_) + 3 * square;
      const bool adamw = spec_.optimizer.kind == job::OptimizerKind::adamw;
      most = std::max(most, adamw ? m.size() * kFloat : muon);
    }
    ledger_.release(waiting_sums());
    ledger_.touch(most, "optimizer");
    ledger_.release(plan_.gradients);
  }

  void requantize() {
    uint64_t most = table_.size();
    for (const Matrix& m : layers_) most = std::max(most, m.size());
    ledger_.touch(most * (kFloat + compute_), "quantisation");
  }

  const job::TrainSpec& spec_;
  const ModelConfig& c_;
  uint64_t batch_;  // tokens of a step
  uint64_t n_;  // tokens whose activations exist at once
  uint64_t compute_;
  std::vector<Matrix> layers_;
  Matrix table_;
  Ledger ledger_;
  MemoryPlan plan_;
};

}  // namespace

MemoryPlan plan_memory(const job::TrainSpec& spec) { return Walk(spec).plan(); }

}  // namespace tristill::train
