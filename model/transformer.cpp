// Dimensions: T tokens of the batch, D d_model, F d_ff, H heads, V vocabulary.
#include "model/transformer.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "model/logprobs.h"
#include "model/reduce.h"

namespace tristill {
namespace {

using kernels::Finish;
using kernels::kHalfRows;
using kernels::kPanelRows;

constexpr uint32_t kTileTokens = 8;  // of a prompt that look at the cache together
constexpr uint32_t kMostQueries = 24;  // of a head, handed to the kernel at once
constexpr size_t kLogitRows = 32;      // held at once, when only the greatest of each is wanted
constexpr size_t kScoreRows = 8;       // that the kernel holds at once, at most

template <class T>
void grow(std::vector<T>& v, size_t n) {
  if (v.size() < n) v.resize(n);
}

size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

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
      rope_(config_.rope_theta, config_.head_dim),
      ld_h_(round_up(config_.d_model, kPanelRows)),
      ld_qkv_(model_->layers.empty() ? 0 : model_->layers[0].qkv.rows),
      ld_ff_(round_up(config_.d_ff, kHalfRows)),
      k_begin_(round_up(config_.q_dim(), kHalfRows)),
      v_begin_(k_begin_ + round_up(config_.kv_dim(), kHalfRows)),
      scratch_(team.size()) {
  const size_t widest = std::max({config_.d_model, config_.d_ff, config_.q_dim()});
  const size_t row = round_up(max_context, kKvBlockTokens) + round_up(config_.head_dim, 16);
  for (auto& scratch : scratch_) {
    scratch.scores.resize(kScoreRows * row);
    scratch.normed.resize(widest);
  }
}

// h = embedding[token]; per layer h += attention(h), h += feed_forward(h).
bool Transformer::forward_unless(std::span<const Segment> batch,
                                 const std::function<bool()>& give_up) {
  place_tokens(batch);
  reserve(places_.size());
  embed(batch);
  for (uint32_t l = 0; l < config_.n_layers; ++l) {
    if (give_up()) return false;
    attention(model_->layers[l], l);
    feed_forward(model_->layers[l]);
  }
  return true;
}

void Transformer::forward(std::span<const Segment> batch) {
  forward_unless(batch, [] { return false; });
}

void Transformer::place_tokens(std::span<const Segment> batch) {
  places_.clear();
  tiles_.clear();
  one_token_each_ = true;
  uint32_t end = 0;
  for (const Segment& segment : batch) {
    const auto n = static_cast<uint32_t>(segment.tokens.size());
    const auto first = static_cast<uint32_t>(places_.size());
    for (uint32_t i = 0; i < n; ++i) {
      places_.push_back({segment.position + i, segment.blocks.data()});
    }
    for (uint32_t i = 0; i < n; i += kTileTokens) {
      tiles_.push_back({first + i, std::min(kTileTokens, n - i)});
    }
    one_token_each_ &= n <= 1;
    end = std::max(end, segment.position + n);
  }
  rope_.extend(end);
}

std::span<const float> Transformer::logits(std::span<const uint32_t> rows) {
  const size_t vocabulary = config_.vocab_size;
  const OutputHead& head = model_->head;
  const size_t ld = head.rows();
  quantize_picked(rows);
  grow(logits_, rows.size() * ld);
  multiply(head.high, [&](const kernels::TokenTile& tile, size_t first, Share panels) {
    float* out = logits_.data() + first * ld + panels.begin * kPanelRows;
    kernels::best().linear(head.product(tile, panels.begin, panels.end, out, ld));
  });
  for (size_t i = 1; i < rows.size() && ld != vocabulary; ++i) {
    std::copy_n(logits_.data() + i * ld, vocabulary, logits_.data() + i * vocabulary);
  }
  const std::span<float> result(logits_.data(), rows.size() * vocabulary);
  if (config_.logit_softcap > 0.0F) soft_cap(result, config_.logit_softcap);
  return result;
}

std::span<const TokenId> Transformer::greatest(std::span<const uint32_t> rows) {
  greatest_.clear();
  // Where logits are capped, the greatest may be one of many.
  const bool few = rows.size() <= Shortlist::kMostTokens && config_.logit_softcap == 0.0F;
  if (few && model_->head.is_sliced()) {
    quantize_picked(rows);
    size_t first = 0;
    const auto found = shortlist_.find(model_->head, config_.vocab_size, tile_of(0, first), team_);
    greatest_.assign(found.begin(), found.end());
    return greatest_;
  }
  for (size_t from = 0; from < rows.size(); from += kLogitRows) {
    const size_t n = std::min(kLogitRows, rows.size() - from);
    const auto all = logits(rows.subspan(from, n));
    for (size_t i = 0; i < n; ++i) {
      greatest_.push_back(greatest_of(all.subspan(i * config_.vocab_size, config_.vocab_size)));
    }
  }
  return greatest_;
}

// The states of these rows of the last batch, as the output head takes them.
void Transformer::quantize_picked(std::span<const uint32_t> rows) {
  const size_t d = config_.d_model;
  grow(picked_, rows.size() * d);
  for (size_t i = 0; i < rows.size(); ++i) {
    CHECK(rows[i] < places_.size());
    std::copy_n(h_.data() + rows[i] * ld_h_, d, picked_.data() + i * d);
  }
  quantize(picked_.data(), d, model_->output_norm, rows.size(), d, activation_limit(8));
}

std::span<const float> Transformer::states(std::span<const uint32_t> rows) {
  const size_t d = config_.d_model;
  for (const uint32_t row : rows) CHECK(row < places_.size());
  grow(picked_, rows.size() * d);
  team_.for_each(rows.size(), 1, [&](size_t i, uint32_t) {
    kernels::best().rms_norm(h_.data() + rows[i] * ld_h_, model_->output_norm.data(),
                             config_.norm_eps, picked_.data() + i * d, 1, d);
  });
  return {picked_.data(), rows.size() * d};
}

void Transformer::read_block(KvBlockId block, std::span<uint8_t> to) {
  const auto from = cache_.contents(block);
  CHECK(to.size() == from.size());
  std::copy(from.begin(), from.end(), to.begin());
}

void Transformer::write_block(KvBlockId block, std::span<const uint8_t> from) {
  const auto to = cache_.contents(block);
  CHECK(to.size() == from.size());
  std::copy(from.begin(), from.end(), to.begin());
}

void Transformer::reserve(size_t n_tokens) {
  grow(h_, n_tokens * ld_h_);
  grow(qkv_, n_tokens * ld_qkv_);
  grow(heads_, n_tokens * config_.q_dim());
  grow(ff_, n_tokens * ld_ff_);
}

void Transformer::embed(std::span<const Segment> batch) {
  float* h = h_.data();
  for (const Segment& segment : batch) {
    for (const TokenId token : segment.tokens) {
      model_->embed(token, h);
      h += ld_h_;
    }
  }
}

// h += o(sub_norm(softmax(cap(q k^t / sqrt(head_dim))) v)) with q, k, v of rms_norm(h).
// Vaswani et al. 2017, eq. 1; keys and values are shared by groups of heads (Ainslie et al. 2023).
void Transformer::attention(const LayerWeights& layer, uint32_t index) {
  const size_t n_tokens = places_.size();
  const uint32_t n_kv = config_.n_kv_heads;
  quantize(h_.data(), ld_h_, layer.attn_norm, n_tokens, config_.d_model, config_.attention_limit());
  linear(layer.qkv, Finish::store, qkv_.data(), ld_qkv_);
  if (!one_token_each_) {
    team_.for_each(n_tokens * n_kv, 8, [&](size_t i, uint32_t) {
      place_head(layer, index, i / n_kv, static_cast<uint32_t>(i % n_kv));
    });
  }
  // Late tiles see more than early ones: many small parts keep everyone busy.
  const size_t n_items = tiles_.size() * n_kv;
  const uint32_t n_parts = team_.parts_of(n_items, 1, 32);
  team_.run(n_parts, [&](uint32_t part, uint32_t thread) {
    const Share mine = share_of(n_items, 1, part, n_parts);
    for (size_t i = mine.begin; i < mine.end; ++i) {
      const AttentionTile& tile = tiles_[i / n_kv];
      const auto kv_head = static_cast<uint32_t>(i % n_kv);
      if (one_token_each_) place_head(layer, index, tile.first, kv_head);
      attend(tile, index, kv_head, scratch_[thread]);
    }
  });
  quantize(heads_.data(), config_.q_dim(), layer.attn_sub_norm, n_tokens, config_.q_dim(),
           config_.attention_limit());
  linear(layer.o, Finish::add, h_.data(), ld_h_);
}

// h += down(sub_norm(act(gate) * up)) with gate, up of rms_norm(h).
void Transformer::feed_forward(const LayerWeights& layer) {
  const size_t n_tokens = places_.size();
  quantize(h_.data(), ld_h_, layer.ffn_norm, n_tokens, config_.d_model, config_.mlp_limit());
  linear(layer.gate_up,
         config_.activation == Activation::swiglu ? Finish::swiglu : Finish::squared_relu_glu,
         ff_.data(), ld_ff_);
  quantize(ff_.data(), ld_ff_, layer.ffn_sub_norm, n_tokens, config_.d_ff, config_.down_limit());
  linear(layer.down, Finish::add, h_.data(), ld_h_);
}

// Norms and rotates the query heads of a group and their key head, scales the queries by
// 1 / sqrt(head_dim), and puts key and value into the cache.
void Transformer::place_head(const LayerWeights& layer, uint32_t index, size_t token,
                             uint32_t kv_head) {
  const size_t dim = config_.head_dim;
  const auto& kernel = kernels::best();
  const float scale = 1.0F / std::sqrt(static_cast<float>(dim));
  const Place& place = places_[token];
  const uint32_t group = config_.n_heads / config_.n_kv_heads;
  float* row = qkv_.data() + token * ld_qkv_;
  float* const first = row + size_t{kv_head} * group * dim;
  if (config_.qk_norm) {
    kernel.rms_norm(first, layer.q_norm.data(), config_.norm_eps, first, group, dim);
  }
  for (float* q = first; q != first + group * dim; q += dim) {
    rope_.rotate(q, place.position);
    for (size_t i = 0; i < dim; ++i) q[i] *= scale;
  }
  float* k = row + k_begin_ + kv_head * dim;
  if (config_.qk_norm) kernel.rms_norm(k, layer.k_norm.data(), config_.norm_eps, k, 1, dim);
  rope_.rotate(k, place.position);
  kernel.store_kv(cache_.head(index, kv_head, place.blocks), place.position, k,
                  row + v_begin_ + kv_head * dim);
}

void Transformer::attend(const AttentionTile& tile, uint32_t index, uint32_t kv_head,
                         Scratch& scratch) {
  const float* q[kMostQueries];
  float* out[kMostQueries];
  uint32_t length[kMostQueries];
  const size_t dim = config_.head_dim;
  const uint32_t group = config_.n_heads / config_.n_kv_heads;
  const uint32_t n_queries = tile.n_tokens * group;
  for (uint32_t from = 0; from < n_queries; from += kMostQueries) {
    const uint32_t n = std::min(kMostQueries, n_queries - from);
    for (uint32_t i = 0; i < n; ++i) {
      const uint32_t token = tile.first + (from + i) / group;
      const size_t head = kv_head * group + (from + i) % group;
      q[i] = qkv_.data() + token * ld_qkv_ + head * dim;
      out[i] = heads_.data() + token * config_.q_dim() + head * dim;
      length[i] = places_[token].position + 1;
    }
    kernels::best().attend({.kv = cache_.head(index, kv_head, places_[tile.first].blocks),
                            .q = q,
                            .out = out,
                            .length = length,
                            .n_queries = n,
                            .scores = scratch.scores.data(),
                            .window = config_.sliding_window,
                            .softcap = config_.attention_softcap});
  }
}

// x_ = quantised rms_norm(x) * gain, or quantised x without a gain (no sub_norm).
void Transformer::quantize(const float* x, size_t ld_x, const std::vector<float>& gain,
                           size_t n_tokens, size_t cols, float limit) {
  const auto& kernel = kernels::best();
  x_.n_tokens = n_tokens;
  x_.n_tiles = (n_tokens + kernel.tile_tokens - 1) / kernel.tile_tokens;
  x_.cols = cols;
  grow(x_.values, n_tokens * kernels::padded_columns(cols));
  grow(x_.scale, n_tokens);
  grow(x_.sum, n_tokens);
  team_.for_each(x_.n_tiles, 1, [&](size_t i, uint32_t thread) {
    const Share share =
        share_of(n_tokens, 1, static_cast<uint32_t>(i), static_cast<uint32_t>(x_.n_tiles));
    kernel.quantize_tile(x + share.begin * ld_x, ld_x, gain.empty() ? nullptr : gain.data(),
                         config_.norm_eps, share.end - share.begin, cols, limit,
                         x_.values.data() + share.begin * kernels::padded_columns(cols),
                         x_.scale.data() + share.begin, x_.sum.data() + share.begin,
                         scratch_[thread].normed.data());
  });
}

kernels::TokenTile Transformer::tile_of(size_t tile, size_t& first) const {
  const Share share =
      share_of(x_.n_tokens, 1, static_cast<uint32_t>(tile), static_cast<uint32_t>(x_.n_tiles));
  first = share.begin;
  return {x_.values.data() + share.begin * kernels::padded_columns(x_.cols),
          x_.scale.data() + share.begin, x_.sum.data() + share.begin, share.end - share.begin};
}

// out = finish(x_ times weights).
void Transformer::linear(const PanelMatrix& weights, Finish finish, float* out, size_t ld_out) {
  const auto& kernel = kernels::best();
  const bool glu = finish == Finish::swiglu || finish == Finish::squared_relu_glu;
  const size_t panel_columns = glu ? kHalfRows : kPanelRows;
  multiply(weights, [&](const kernels::TokenTile& tile, size_t first, Share panels) {
    kernel.linear({.x = tile,
                   .kind = weights.kind,
                   .panels = weights.data,
                   .cols = weights.cols,
                   .panel_begin = panels.begin,
                   .panel_end = panels.end,
                   .scale = weights.scale.data(),
                   .bias = weights.bias.empty() ? nullptr : weights.bias.data(),
                   .finish = finish,
                   .out = out + first * ld_out + panels.begin * panel_columns,
                   .ld_out = ld_out});
  });
}

// product(tile, its first token, panels) for every tile of x_ and every part of the panels.
template <class Product>
void Transformer::multiply(const PanelMatrix& weights, Product product) {
  const uint32_t n_parts = parts_of_panels(weights, team_);
  team_.run(n_parts, [&](uint32_t part, uint32_t) {
    const Share panels = share_of(weights.n_panels(), 1, part, n_parts);
    for (size_t i = 0; i < x_.n_tiles && panels.begin < panels.end; ++i) {
      size_t first = 0;
      const kernels::TokenTile tile = tile_of(i, first);
      product(tile, first, panels);
    }
  });
}

}  // namespace tristill
