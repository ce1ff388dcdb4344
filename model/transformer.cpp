// Dimensions: T tokens of the batch, D d_model, F d_ff, H heads, V vocabulary.
#include "model/transformer.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "model/reduce.h"

namespace tristill {
namespace {

constexpr size_t kRowGrain = 32;    // output rows of a linear layer: the kernels' panel
constexpr size_t kRowChunk = 256;   // rows a kernel call: their sums stay in L2
constexpr size_t kTokenGrain = 2;   // fewer tokens are not worth waking the team

template <class T>
void grow(std::vector<T>& v, size_t n) {
  if (v.size() < n) v.resize(n);
}

}  // namespace

void soft_cap(std::span<float> x, float cap) {
  constexpr size_t kPart = 256;
  float e[kPart];
  for (size_t from = 0; from < x.size(); from += kPart) {
    const size_t n = std::min(kPart, x.size() - from);
    for (size_t i = 0; i < n; ++i) e[i] = -2.0F * std::fabs(x[from + i] / cap);
    kernels::best().exp_sum(e, 0.0F, n);
    for (size_t i = 0; i < n; ++i) {
      x[from + i] = std::copysign(cap * ((1.0F - e[i]) / (1.0F + e[i])), x[from + i]);
    }
  }
}

Transformer::Transformer(std::shared_ptr<const Model> model, KvCache& cache, ThreadTeam& team,
                         uint32_t max_context)
    : model_(std::move(model)),
      config_(model_->config),
      cache_(cache),
      team_(team),
      rope_(config_.rope_theta, config_.head_dim, max_context),
      scratch_(team.size()) {
  const size_t widest = std::max({config_.d_model, config_.d_ff, config_.q_dim()});
  for (auto& scratch : scratch_) {
    scratch.scores.resize(max_context);
    scratch.normed.resize(widest);
    scratch.outputs.resize(kRowChunk);
  }
}

// h = embedding[token]; per layer h += attention(h), h += feed_forward(h).
void Transformer::forward(std::span<const Segment> batch) {
  places_.clear();
  for (const Segment& segment : batch) {
    for (uint32_t i = 0; i < segment.tokens.size(); ++i) {
      places_.push_back({segment.position + i, segment.blocks});
    }
  }
  reserve(places_.size());
  embed(batch);
  for (uint32_t l = 0; l < config_.n_layers; ++l) {
    attention(model_->layers[l], l);
    feed_forward(model_->layers[l]);
  }
}

std::span<const float> Transformer::logits(std::span<const uint32_t> rows) {
  const size_t d = config_.d_model;
  grow(picked_, rows.size() * d);
  grow(logits_, rows.size() * config_.vocab_size);
  for (size_t i = 0; i < rows.size(); ++i) {
    CHECK(rows[i] < places_.size());
    std::copy_n(h_.data() + rows[i] * d, d, picked_.data() + i * d);
  }
  quantize_normed(picked_.data(), model_->output_norm, rows.size(), d);
  const LinearOutput head[] = {{&model_->output_head(), logits_.data()}};
  linear(head, rows.size());
  const std::span<float> result(logits_.data(), rows.size() * config_.vocab_size);
  if (config_.logit_softcap > 0.0F) soft_cap(result, config_.logit_softcap);
  return result;
}

void Transformer::reserve(size_t n_tokens) {
  const size_t q_dim = config_.q_dim();
  grow(h_, n_tokens * config_.d_model);
  grow(q_, n_tokens * q_dim);
  grow(heads_, n_tokens * q_dim);
  grow(k_, n_tokens * config_.kv_dim());
  grow(v_, n_tokens * config_.kv_dim());
  grow(gate_, n_tokens * config_.d_ff);
  grow(up_, n_tokens * config_.d_ff);
}

void Transformer::embed(std::span<const Segment> batch) {
  const LinearWeights& table = model_->embedding;
  float* h = h_.data();
  for (const Segment& segment : batch) {
    for (const TokenId token : segment.tokens) {
      CHECK(token >= 0 && static_cast<size_t>(token) < table.rows);
      const int8_t* row = table.values.data() + static_cast<size_t>(token) * table.cols;
      const float scale = table.scale[static_cast<size_t>(token)];
      for (size_t c = 0; c < table.cols; ++c) h[c] = static_cast<float>(row[c]) * scale;
      h += table.cols;
    }
  }
}

// h += o(sub_norm(softmax(q k^t / sqrt(head_dim)) v)) with q, k, v of rms_norm(h).
void Transformer::attention(const LayerWeights& layer, uint32_t index) {
  const size_t n_tokens = places_.size();
  quantize_normed(h_.data(), layer.attn_norm, n_tokens, config_.d_model);
  const LinearOutput qkv[] = {{&layer.q, q_.data()}, {&layer.k, k_.data()}, {&layer.v, v_.data()}};
  linear(qkv, n_tokens);
  store_keys_values(layer, index);
  // Heads outside: every part gets the same mix of short and long contexts.
  const size_t n_items = n_tokens * config_.n_heads;
  const uint32_t n_parts = team_.parts_of(n_items, 1, 4);
  team_.run(n_parts, [&](uint32_t part, uint32_t thread) {
    const Share mine = share_of(n_items, 1, part, n_parts);
    for (size_t i = mine.begin; i < mine.end; ++i) {
      attend(i % n_tokens, static_cast<uint32_t>(i / n_tokens), index, scratch_[thread].scores);
    }
  });
  quantize_normed(heads_.data(), layer.attn_sub_norm, n_tokens, config_.q_dim());
  const LinearOutput o[] = {{&layer.o, h_.data(), true}};
  linear(o, n_tokens);
}

// h += down(sub_norm(act(gate) * up)) with gate, up of rms_norm(h).
void Transformer::feed_forward(const LayerWeights& layer) {
  const size_t n_tokens = places_.size();
  const size_t d_ff = config_.d_ff;
  quantize_normed(h_.data(), layer.ffn_norm, n_tokens, config_.d_model);
  const LinearOutput gate_up[] = {{&layer.gate, gate_.data()}, {&layer.up, up_.data()}};
  linear(gate_up, n_tokens);
  const auto& kernel = kernels::best();
  const auto glu =
      config_.activation == Activation::swiglu ? kernel.swiglu : kernel.squared_relu_glu;
  team_.for_each(n_tokens, kTokenGrain, [&](size_t t, uint32_t) {
    float* gate = gate_.data() + t * d_ff;
    glu(gate, up_.data() + t * d_ff, gate, d_ff);
  });
  quantize_normed(gate_.data(), layer.ffn_sub_norm, n_tokens, d_ff);
  const LinearOutput down[] = {{&layer.down, h_.data(), true}};
  linear(down, n_tokens);
}

// Norms and rotates the query and key heads, scales the queries by 1 / sqrt(head_dim), and puts
// keys and values into the cache.
void Transformer::store_keys_values(const LayerWeights& layer, uint32_t index) {
  const size_t dim = config_.head_dim;
  const auto& kernel = kernels::best();
  const float scale = 1.0F / std::sqrt(static_cast<float>(dim));
  team_.for_each(places_.size(), kTokenGrain, [&](size_t t, uint32_t) {
    const uint32_t position = places_[t].position;
    const uint32_t slot = position % kKvBlockTokens;
    const KvBlockId block = places_[t].blocks[position / kKvBlockTokens];
    for (uint32_t head = 0; head < config_.n_heads; ++head) {
      float* q = q_.data() + t * config_.q_dim() + head * dim;
      if (config_.qk_norm) kernel.rms_norm(q, layer.q_norm.data(), config_.norm_eps, q, 1, dim);
      rope_.rotate(q, position);
      for (size_t i = 0; i < dim; ++i) q[i] *= scale;
    }
    for (uint32_t head = 0; head < config_.n_kv_heads; ++head) {
      float* k = k_.data() + t * config_.kv_dim() + head * dim;
      if (config_.qk_norm) kernel.rms_norm(k, layer.k_norm.data(), config_.norm_eps, k, 1, dim);
      rope_.rotate(k, position);
      std::copy_n(k, dim, cache_.keys(block, index, head) + slot * dim);
      std::copy_n(v_.data() + t * config_.kv_dim() + head * dim, dim,
                  cache_.values(block, index, head) + slot * dim);
    }
  });
}

// heads[t, head] = sum_p softmax(q . k_p) v_p over positions p <= t's, in the order of positions.
// Vaswani et al. 2017, eq. 1; keys and values are shared by groups of heads (Ainslie et al. 2023).
void Transformer::attend(size_t t, uint32_t head, uint32_t layer, std::vector<float>& scores) {
  const auto& kernel = kernels::best();
  const size_t dim = config_.head_dim;
  const uint32_t kv_head = head / (config_.n_heads / config_.n_kv_heads);
  const size_t n = size_t{places_[t].position} + 1;
  const auto blocks = places_[t].blocks;
  const float* q = q_.data() + t * config_.q_dim() + head * dim;
  float* out = heads_.data() + t * config_.q_dim() + head * dim;
  for (size_t p = 0; p < n; p += kKvBlockTokens) {
    const float* keys = cache_.keys(blocks[p / kKvBlockTokens], layer, kv_head);
    kernel.dot_rows(q, keys, dim, std::min<size_t>(kKvBlockTokens, n - p), dim, &scores[p]);
  }
  const float sum = kernel.exp_sum(scores.data(), max_of(scores.data(), n), n);
  std::fill_n(out, dim, 0.0F);
  for (size_t p = 0; p < n; p += kKvBlockTokens) {
    const float* values = cache_.values(blocks[p / kKvBlockTokens], layer, kv_head);
    kernel.axpy_rows(&scores[p], values, dim, std::min<size_t>(kKvBlockTokens, n - p), out, dim);
  }
  const float inverse = 1.0F / sum;
  for (size_t i = 0; i < dim; ++i) out[i] *= inverse;
}

void Transformer::quantize_row(const float* x, size_t row, size_t cols) {
  kernels::best().quantize_tokens(x, 1, cols, x_.values.data() + row * cols, x_.scale.data() + row,
                                  x_.sum.data() + row);
}

// x_ = quantised rms_norm(x) * gain, or quantised x without a gain (no sub_norm).
void Transformer::quantize_normed(const float* x, const std::vector<float>& gain, size_t rows,
                                  size_t cols) {
  grow(x_.values, rows * cols);
  grow(x_.scale, rows);
  grow(x_.sum, rows);
  team_.for_each(rows, kTokenGrain, [&](size_t t, uint32_t thread) {
    const float* row = x + t * cols;
    if (!gain.empty()) {
      float* normed = scratch_[thread].normed.data();
      kernels::best().rms_norm(row, gain.data(), config_.norm_eps, normed, 1, cols);
      row = normed;
    }
    quantize_row(row, t, cols);
  });
}

// All outputs from the same quantised input x_: their rows are shared out as one matrix.
void Transformer::linear(std::span<const LinearOutput> outputs, size_t n_tokens) {
  size_t total = 0;
  for (const auto& output : outputs) total += output.weights->rows;
  const uint32_t n_parts = team_.parts_of(total, kRowGrain, 2);
  team_.run(n_parts, [&](uint32_t part, uint32_t thread) {
    const Share mine = share_of(total, kRowGrain, part, n_parts);
    size_t first = 0;
    for (const auto& output : outputs) {
      const size_t rows = output.weights->rows;
      const size_t begin = std::clamp(mine.begin, first, first + rows) - first;
      const size_t end = std::clamp(mine.end, first, first + rows) - first;
      for (size_t r = begin; r < end; r += kRowChunk) {
        linear_rows(output, r, std::min(end, r + kRowChunk), n_tokens, scratch_[thread]);
      }
      first += rows;
    }
  });
}

// y = float(acc) * (scale * s_token): the contract of model/ternary.h.
void Transformer::linear_rows(const LinearOutput& output, size_t begin, size_t end, size_t n_tokens,
                              Scratch& scratch) const {
  const auto& kernel = kernels::best();
  const LinearWeights& w = *output.weights;
  const size_t n = end - begin;
  grow(scratch.sums, n_tokens * kRowChunk);
  int32_t* sums = scratch.sums.data();
  const bool ternary = w.kind == WeightKind::ternary;
  if (ternary) {
    kernel.ternary_gemm(x_.values.data(), x_.sum.data(), n_tokens,
                        {w.packed.data(), w.rows, w.cols}, begin, end, sums, n);
  } else {
    kernel.int8_gemm(x_.values.data(), n_tokens,
                     {w.values.data(), w.row_sum.data(), w.rows, w.cols}, begin, end, sums, n);
  }
  const float* scale = w.scale.data() + (ternary ? 0 : begin);
  for (size_t t = 0; t < n_tokens; ++t) {
    float* out = output.out + t * w.rows + begin;
    float* y = output.add ? scratch.outputs.data() : out;
    kernel.scale_sums(sums + t * n, scale, ternary ? 0 : 1, x_.scale[t], y, n);
    if (output.add) kernel.axpy(1.0F, y, out, n);
  }
}

}  // namespace tristill
