// Transformer: the forward pass of one model for a batch of sequences at any positions.
// One thread uses it; it computes on a ThreadTeam. Scratch memory grows to the largest batch.
// Not the batch's composition (engine/scheduler.h) nor the choice of tokens (sampler.h).
//
// Deterministic: a token's logits depend on the tokens before it alone, bit for bit; not on the
// batch, the split into calls, the number of threads or the instruction set.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "model/kv_cache.h"
#include "model/rope.h"
#include "model/threads.h"
#include "model/weights.h"

namespace tristill {

// One sequence's share of a batch.
struct Segment {
  std::span<const TokenId> tokens;    // not yet computed
  uint32_t position = 0;              // of the first of them
  std::span<const KvBlockId> blocks;  // hold positions 0 .. position + tokens.size() - 1
};

// One rows x cols product of a phase: out[t, r] = (or +=, with add) the linear layer's outputs.
struct LinearOutput {
  const LinearWeights* weights;
  float* out;  // [T, weights->rows]
  bool add = false;
};

// x[i] = cap * tanh(x[i] / cap), to 1e-7 of cap. Gemma 2, section 2. cap > 0.
void soft_cap(std::span<float> x, float cap);

class Transformer {
 public:
  // Positions are below max_context.
  Transformer(std::shared_ptr<const Model> model, KvCache& cache, ThreadTeam& team,
              uint32_t max_context);

  // Computes all tokens, writes their keys and values. Earlier positions must be in the cache.
  void forward(std::span<const Segment> batch);

  // Logits [rows.size(), V] of tokens of the last batch, counted through its segments in order.
  // Valid until the next call.
  std::span<const float> logits(std::span<const uint32_t> rows);

 private:
  // Where a batch's token stands.
  struct Place {
    uint32_t position;
    std::span<const KvBlockId> blocks;
  };
  // Activations as the linear layers take them.
  struct Quantized {
    std::vector<int8_t> values;
    std::vector<float> scale;
    std::vector<int32_t> sum;
  };
  // A thread's own memory.
  struct Scratch {
    std::vector<int32_t> sums;
    std::vector<float> outputs;
    std::vector<float> scores;
    std::vector<float> normed;
  };

  void reserve(size_t n_tokens);
  void embed(std::span<const Segment> batch);
  void attention(const LayerWeights& layer, uint32_t index);
  void feed_forward(const LayerWeights& layer);
  void store_keys_values(const LayerWeights& layer, uint32_t index);
  void attend(size_t token, uint32_t head, uint32_t layer, std::vector<float>& scores);
  void quantize_row(const float* x, size_t row, size_t cols);
  void quantize_normed(const float* x, const std::vector<float>& gain, size_t rows, size_t cols);
  void linear(std::span<const LinearOutput> outputs, size_t n_tokens);
  void linear_rows(const LinearOutput& output, size_t begin, size_t end, size_t n_tokens,
                   Scratch& scratch) const;

  std::shared_ptr<const Model> model_;
  const ModelConfig& config_;
  KvCache& cache_;
  ThreadTeam& team_;
  RopeTable rope_;
  std::vector<Place> places_;  // [T]
  std::vector<float> h_;       // [T, D] the residual stream
  std::vector<float> q_;       // [T, H * head_dim]
  std::vector<float> k_, v_;   // [T, H_kv * head_dim]
  std::vector<float> heads_;   // [T, H * head_dim] attention's output
  std::vector<float> gate_, up_;  // [T, F]
  std::vector<float> picked_;  // [rows, D]
  std::vector<float> logits_;  // [rows, V]
  Quantized x_;
  std::vector<Scratch> scratch_;  // one a thread
};

}  // namespace tristill
