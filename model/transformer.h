// Transformer: the forward pass on the CPU, on a ThreadTeam. Scratch memory grows to the largest
// batch. Not the batch's composition (engine/scheduler.h) nor the choice of tokens (sampler.h).
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "model/backend.h"
#include "model/rope.h"
#include "model/shortlist.h"

namespace tristill {

// x[i] = cap * tanh(x[i] / cap), to 1e-7 of cap. Gemma 2, section 2. cap > 0.
void soft_cap(std::span<float> x, float cap);

class Transformer : public Backend {
 public:
  // Positions are below max_context.
  Transformer(std::shared_ptr<const Model> model, KvCache& cache, ThreadTeam& team,
              uint32_t max_context);

  void forward(std::span<const Segment> batch) override;
  bool forward_unless(std::span<const Segment> batch,
                      const std::function<bool()>& give_up) override;
  std::span<const float> logits(std::span<const uint32_t> rows) override;
  std::span<const TokenId> greatest(std::span<const uint32_t> rows) override;
  std::span<const float> states(std::span<const uint32_t> rows) override;
  void copy_block(KvBlockId from, KvBlockId to) override { cache_.copy(from, to); }
  void read_block(KvBlockId block, std::span<uint8_t> to) override;
  void write_block(KvBlockId block, std::span<const uint8_t> from) override;

 private:
  // Where a batch's token stands.
  struct Place {
    uint32_t position;
    const KvBlockId* blocks;
  };
  // Consecutive tokens of a sequence that look at the cache together.
  struct AttentionTile {
    uint32_t first;  // place
    uint32_t n_tokens;
  };
  // Activations as the linear layers take them: tiles of tokens, one behind the other.
  struct Quantized {
    size_t n_tokens = 0;
    size_t n_tiles = 0;
    size_t cols = 0;
    std::vector<int8_t> values;  // [T, padded columns]
    std::vector<float> scale;    // [T]
    std::vector<int32_t> sum;    // [T]
  };
  // A thread's own memory.
  struct Scratch {
    std::vector<float> scores;
    std::vector<float> normed;
  };

  void reserve(size_t n_tokens);
  void place_tokens(std::span<const Segment> batch);
  void embed(std::span<const Segment> batch);
  void attention(const LayerWeights& layer, uint32_t index);
  void feed_forward(const LayerWeights& layer);
  void place_head(const LayerWeights& layer, uint32_t index, size_t token, uint32_t kv_head);
  void attend(const AttentionTile& tile, uint32_t index, uint32_t kv_head, Scratch& scratch);
  void quantize_picked(std::span<const uint32_t> rows);
  void quantize(const float* x, size_t ld_x, const std::vector<float>& gain, size_t n_tokens,
                size_t cols, float limit);
  kernels::TokenTile tile_of(size_t tile, size_t& first) const;
  void linear(const PanelMatrix& weights, kernels::Finish finish, float* out, size_t ld_out);
  template <class Product>
  void multiply(const PanelMatrix& weights, Product product);

  std::shared_ptr<const Model> model_;
  const ModelConfig& config_;
  KvCache& cache_;
  ThreadTeam& team_;
  RopeTable rope_;
  // Widths of the rows below: what whole panels write.
  size_t ld_h_, ld_qkv_, ld_ff_;
  size_t k_begin_, v_begin_;  // in a row of qkv_
  std::vector<Place> places_;  // [T]
  std::vector<AttentionTile> tiles_;
  bool one_token_each_ = false;  // no sequence brings more than one token
  std::vector<float> h_;         // [T, D] the residual stream
  std::vector<float> qkv_;       // [T, q | k | v]
  std::vector<float> heads_;     // [T, H * head_dim] attention's output
  std::vector<float> ff_;        // [T, F]
  std::vector<float> picked_;    // [rows, D]
  std::vector<float> logits_;    // [rows, V]
  Quantized x_;
  Shortlist shortlist_;
  std::vector<TokenId> greatest_;  // [rows]
  std::vector<Scratch> scratch_;  // one a thread
};

}  // namespace tristill
