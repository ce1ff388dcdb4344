// Dimensions as in transformer.cpp. All kernels go to one stream, in order. A step in which every
// sequence brings one token is a graph, recorded once for 1, 2, 4, ... tokens: a step has some ten
// kernels a layer, and starting each by itself would take longer than what they compute.
#include "model/cuda/cuda_backend.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <string>

#include "base/check.h"
#include "model/cuda/attention.cuh"
#include "model/cuda/device_weights.h"
#include "model/cuda/elementwise.cuh"
#include "model/cuda/linear.cuh"
#include "model/cuda/runtime.h"

namespace tristill {
namespace cuda {
namespace {

constexpr int kLeastCapability = 80;  // mma.m16n8k32
constexpr uint32_t kInitialTokens = 512;
constexpr uint32_t kMostGraphTokens = 256;
constexpr size_t kScoreBytes = size_t{256} << 20;  // attention scores held at once, at most

uint32_t round_up(uint32_t n, uint32_t to) { return (n + to - 1) / to * to; }

class CudaBackend final : public Backend {
 public:
  CudaBackend(std::shared_ptr<const Model> model, KvCache& cache, uint32_t max_context);
  ~CudaBackend() override { cudaStreamSynchronize(stream_.get()); }

  void forward(std::span<const Segment> batch) override;
  std::span<const float> logits(std::span<const uint32_t> rows) override;
  std::span<const TokenId> greatest(std::span<const uint32_t> rows) override;
  std::span<const float> states(std::span<const uint32_t> rows) override;
  void copy_block(KvBlockId from, KvBlockId to) override;
  void read_block(KvBlockId block, std::span<uint8_t> to) override;
  void write_block(KvBlockId block, std::span<const uint8_t> from) override;

 private:
  void reserve(uint32_t n_tokens, uint32_t n_segments);
  void reserve_logits(uint32_t n_rows);
  void pick(std::span<const uint32_t> rows);
  uint32_t stage(std::span<const Segment> batch, uint32_t n_padded);
  void run_layers(uint32_t n_tokens);
  void attention(const DeviceLayer& layer, uint32_t index, uint32_t n_tokens);
  void feed_forward(const DeviceLayer& layer, uint32_t n_tokens);
  void quantize(const float* x, uint32_t ld, const uint32_t* rows, const float* gain, uint32_t cols,
                float limit, uint32_t n_tokens);
  void linear(const Matrix& weights, Finish finish, float* out, uint32_t ld, uint32_t n_tokens);
  template <PanelKind kKind>
  void multiply(const Matrix& weights, const Tokens& x, const Output& out);
  void compute_logits(std::span<const uint32_t> rows);
  Tokens tokens(uint32_t n) const { return {q_.data(), scale_.data(), sum_.data(), n}; }
  Cache cache_of(uint32_t layer) const;

  const std::shared_ptr<const Model> model_;
  const ModelConfig& config_;
  const KvCache& cache_;
  const uint32_t max_context_;
  const uint32_t ld_h_, ld_qkv_, ld_ff_, ld_blocks_, widest_;
  Heads heads_shape_ = {};
  size_t block_bytes_, head_bytes_;
  Stream stream_;
  DeviceWeights weights_;
  DeviceArray<uint8_t> blocks_;  // the cache's, and one more for what nobody reads

  // Room for so many of a batch.
  uint32_t room_tokens_ = 0, room_segments_ = 0, room_rows_ = 0, room_scores_ = 0;
  // [tokens | positions | segments | blocks of segments]
  PinnedArray<uint32_t> staged_;
  DeviceArray<uint32_t> batch_;
  DeviceArray<float> h_, qkv_, heads_, ff_, scores_, logits_, states_;
  DeviceArray<int8_t> q_;
  DeviceArray<float> scale_;
  DeviceArray<int32_t> sum_;
  PinnedArray<uint32_t> rows_;
  DeviceArray<uint32_t> device_rows_;
  DeviceArray<TokenId> device_greatest_;
  PinnedArray<TokenId> greatest_;
  PinnedArray<float> host_logits_, host_states_;
  uint32_t n_tokens_ = 0;  // of the last batch
  std::array<Graph, std::bit_width(kMostGraphTokens)> graphs_;  // graph i: 2^i tokens
};

CudaBackend::CudaBackend(std::shared_ptr<const Model> model, KvCache& cache, uint32_t max_context)
    : model_(std::move(model)),
      config_(model_->config),
      cache_(cache),
      max_context_(max_context),
      ld_h_(round_up(config_.d_model, kRows)),
      ld_qkv_(static_cast<uint32_t>(model_->layers.empty() ? 0 : model_->layers[0].qkv.rows)),
      ld_ff_(round_up(config_.d_ff, kernels::kHalfRows)),
      ld_blocks_(kv_blocks_for(max_context)),
      widest_(padded_row(std::max({config_.d_model, config_.d_ff, config_.q_dim()}))),
      block_bytes_(kv_block_bytes(config_, cache.format())),
      head_bytes_(kernels::kv_head_bytes(cache.format(), config_.head_dim)),
      weights_(*model_, max_context),
      blocks_((size_t{cache.n_blocks()} + 1) * block_bytes_) {
  const uint32_t k_begin = round_up(config_.q_dim(), kernels::kHalfRows);
  heads_shape_ = {.n_heads = config_.n_heads,
                  .n_kv_heads = config_.n_kv_heads,
                  .dim = config_.head_dim,
                  .k_begin = k_begin,
                  .v_begin = k_begin + round_up(config_.kv_dim(), kernels::kHalfRows),
                  .ld = ld_qkv_,
                  .eps = config_.norm_eps,
                  .window = config_.sliding_window,
                  .softcap = config_.attention_softcap,
                  .cosine = weights_.cosine,
                  .sine = weights_.sine};
  // As the CPU's fresh memory: what pads a block stays zero.
  check(cudaMemsetAsync(blocks_.data(), 0, blocks_.size(), stream_.get()), "clearing the cache");
  reserve(kInitialTokens, kInitialTokens);
}

void CudaBackend::reserve(uint32_t n_tokens, uint32_t n_segments) {
  if (n_tokens <= room_tokens_ && n_segments <= room_segments_) return;
  stream_.wait();
  graphs_ = {};  // they know the old places
  const uint32_t n = std::max(n_tokens, room_tokens_);
  const uint32_t segments = std::max(n_segments, room_segments_);
  room_tokens_ = room_segments_ = 0;
  const size_t size = size_t{3} * n + size_t{segments} * ld_blocks_;
  staged_ = PinnedArray<uint32_t>(size);
  batch_ = DeviceArray<uint32_t>(size);
  h_ = DeviceArray<float>(size_t{n} * ld_h_);
  qkv_ = DeviceArray<float>(size_t{n} * ld_qkv_);
  heads_ = DeviceArray<float>(size_t{n} * config_.q_dim());
  ff_ = DeviceArray<float>(size_t{n} * ld_ff_);
  q_ = DeviceArray<int8_t>(size_t{n} * widest_);
  scale_ = DeviceArray<float>(n);
  sum_ = DeviceArray<int32_t>(n);
  const size_t score_row = size_t{config_.n_heads} * max_context_;
  const size_t most = std::max<size_t>(kScoreBytes / (score_row * sizeof(float)), kMostGraphTokens);
  room_scores_ = static_cast<uint32_t>(std::min<size_t>(n, most));
  scores_ = DeviceArray<float>(room_scores_ * score_row);
  room_tokens_ = n;
  room_segments_ = segments;
}

void CudaBackend::forward(std::span<const Segment> batch) {
  uint32_t n = 0;
  bool one_each = true;
  for (const Segment& segment : batch) {
    n += static_cast<uint32_t>(segment.tokens.size());
    one_each = one_each && segment.tokens.size() == 1;
  }
  if (n == 0) return;
  const bool is_graph = one_each && n <= kMostGraphTokens;
  const uint32_t n_padded = is_graph ? std::bit_ceil(n) : n;
  reserve(n_padded, std::max(n_padded, static_cast<uint32_t>(batch.size())));
  stream_.wait();  // until the last batch has read what is staged
  n_tokens_ = stage(batch, n_padded);
  if (!is_graph) return run_layers(n_padded);
  Graph& graph = graphs_[static_cast<size_t>(std::countr_zero(n_padded))];
  if (graph.empty()) graph = Graph(stream_, [&] { run_layers(n_padded); });
  graph.start(stream_);
}

// Copies the batch to the device. Tokens that fill it up write where nobody reads.
uint32_t CudaBackend::stage(std::span<const Segment> batch, uint32_t n_padded) {
  uint32_t* const token = staged_.data();
  uint32_t* const position = token + room_tokens_;
  uint32_t* const segment = position + room_tokens_;
  uint32_t* const blocks = segment + room_tokens_;
  uint32_t n = 0;
  uint32_t s = 0;
  for (const Segment& from : batch) {
    CHECK(from.position + from.tokens.size() <= max_context_);
    for (uint32_t i = 0; i < from.tokens.size(); ++i, ++n) {
      CHECK(from.tokens[i] >= 0 && static_cast<uint32_t>(from.tokens[i]) < config_.vocab_size);
      token[n] = static_cast<uint32_t>(from.tokens[i]);
      position[n] = from.position + i;
      segment[n] = s;
    }
    std::copy(from.blocks.begin(), from.blocks.end(), blocks + size_t{s} * ld_blocks_);
    ++s;
  }
  for (uint32_t i = n; i < n_padded; ++i, ++s) {
    token[i] = position[i] = 0;
    segment[i] = s;
    blocks[size_t{s} * ld_blocks_] = cache_.n_blocks();
  }
  for (const size_t part : {0, 1, 2}) {
    stream_.copy_in(batch_.data() + part * room_tokens_, token + part * room_tokens_, n_padded);
  }
  const size_t tables = size_t{3} * room_tokens_;
  stream_.copy_in(batch_.data() + tables, blocks, size_t{s} * ld_blocks_);
  return n;
}

void CudaBackend::run_layers(uint32_t n_tokens) {
  stream_.launch(embed_tokens, dim3(n_tokens), kRowThreads,
                 reinterpret_cast<const int32_t*>(batch_.data()), weights_.embedding,
                 weights_.embedding_scale, weights_.head, config_.d_model, h_.data(), ld_h_);
  for (uint32_t l = 0; l < config_.n_layers; ++l) {
    attention(weights_.layers[l], l, n_tokens);
    feed_forward(weights_.layers[l], n_tokens);
  }
}

void CudaBackend::attention(const DeviceLayer& layer, uint32_t index, uint32_t n_tokens) {
  quantize(h_.data(), ld_h_, nullptr, layer.attn_norm, config_.d_model, config_.attention_limit(),
           n_tokens);
  linear(layer.qkv, Finish::store, qkv_.data(), ld_qkv_, n_tokens);
  Heads shape = heads_shape_;
  shape.q_norm = config_.qk_norm ? layer.q_norm : nullptr;
  shape.k_norm = config_.qk_norm ? layer.k_norm : nullptr;
  const Cache cache = cache_of(index);
  Places places{.position = batch_.data() + room_tokens_,
                .segment = batch_.data() + size_t{2} * room_tokens_,
                .blocks = batch_.data() + size_t{3} * room_tokens_,
                .ld_blocks = ld_blocks_};
  const float query_scale = 1.0F / std::sqrt(static_cast<float>(config_.head_dim));
  stream_.launch(place_heads, dim3(n_tokens, config_.n_heads + config_.n_kv_heads), kPlaceThreads,
                 qkv_.data(), shape, cache, places, query_scale);
  for (uint32_t from = 0; from < n_tokens; from += room_scores_) {
    const uint32_t n = std::min(room_scores_, n_tokens - from);
    stream_.launch(attend, dim3(n, config_.n_kv_heads), kAttentionThreads,
                   qkv_.data() + size_t{from} * ld_qkv_, shape, cache, places, scores_.data(),
                   max_context_, heads_.data() + size_t{from} * config_.q_dim());
    places.position += n;
    places.segment += n;
  }
  quantize(heads_.data(), config_.q_dim(), nullptr, layer.attn_sub_norm, config_.q_dim(),
           config_.attention_limit(), n_tokens);
  linear(layer.o, Finish::add, h_.data(), ld_h_, n_tokens);
}

void CudaBackend::feed_forward(const DeviceLayer& layer, uint32_t n_tokens) {
  quantize(h_.data(), ld_h_, nullptr, layer.ffn_norm, config_.d_model, config_.mlp_limit(),
           n_tokens);
  linear(layer.gate_up,
         config_.activation == Activation::swiglu ? Finish::swiglu : Finish::squared_relu_glu,
         ff_.data(), ld_ff_, n_tokens);
  quantize(ff_.data(), ld_ff_, nullptr, layer.ffn_sub_norm, config_.d_ff, config_.down_limit(),
           n_tokens);
  linear(layer.down, Finish::add, h_.data(), ld_h_, n_tokens);
}

void CudaBackend::quantize(const float* x, uint32_t ld, const uint32_t* rows, const float* gain,
                           uint32_t cols, float limit, uint32_t n_tokens) {
  stream_.launch(quantize_rows, dim3(n_tokens), kRowThreads, x, ld, rows, gain, config_.norm_eps,
                 cols, limit, tokens(n_tokens));
}

void CudaBackend::linear(const Matrix& weights, Finish finish, float* out, uint32_t ld,
                         uint32_t n_tokens) {
  const Output to{finish, out, ld};
  switch (weights.kind) {
    case PanelKind::ternary: return multiply<PanelKind::ternary>(weights, tokens(n_tokens), to);
    case PanelKind::int8: return multiply<PanelKind::int8>(weights, tokens(n_tokens), to);
    case PanelKind::int4: return multiply<PanelKind::int4>(weights, tokens(n_tokens), to);
    case PanelKind::sliced: return multiply<PanelKind::sliced>(weights, tokens(n_tokens), to);
    case PanelKind::dense: break;  // DeviceWeights refuses it
  }
  CHECK(false);
}

template <PanelKind kKind>
void CudaBackend::multiply(const Matrix& weights, const Tokens& x, const Output& out) {
  constexpr uint32_t kThreads = kWarp * kLinearWarps;
  const dim3 panels(weights.rows / kRows);
  static_assert(kFewTokens == 4);
  switch (x.n) {
    case 1: return stream_.launch(linear_few<kKind, 1>, panels, kThreads, weights, x, out);
    case 2: return stream_.launch(linear_few<kKind, 2>, panels, kThreads, weights, x, out);
    case 3: return stream_.launch(linear_few<kKind, 3>, panels, kThreads, weights, x, out);
    case 4: return stream_.launch(linear_few<kKind, 4>, panels, kThreads, weights, x, out);
    default: break;
  }
  const dim3 grid(panels.x, (x.n + kTileTokens - 1) / kTileTokens);
  stream_.launch(linear_many<kKind>, grid, kThreads, weights, x, out);
}

Cache CudaBackend::cache_of(uint32_t layer) const {
  return {.format = cache_.format(),
          .base = blocks_.data() + size_t{layer} * config_.n_kv_heads * head_bytes_,
          .block_bytes = block_bytes_,
          .head_bytes = static_cast<uint32_t>(head_bytes_)};
}

void CudaBackend::reserve_logits(uint32_t n_rows) {
  if (n_rows <= room_rows_) return;
  stream_.wait();
  room_rows_ = 0;
  greatest_ = PinnedArray<TokenId>(n_rows);
  device_greatest_ = DeviceArray<TokenId>(n_rows);
  logits_ = DeviceArray<float>(size_t{n_rows} * weights_.head.rows);
  room_rows_ = n_rows;
}

// device_rows_ = these rows of the last batch. Whoever asked last has waited for the answer.
void CudaBackend::pick(std::span<const uint32_t> rows) {
  const size_t n = rows.size();
  CHECK(n <= room_tokens_);
  for (const uint32_t row : rows) CHECK(row < n_tokens_);
  if (rows_.size() < n) {
    rows_ = PinnedArray<uint32_t>(n);
    device_rows_ = DeviceArray<uint32_t>(n);
  }
  std::copy(rows.begin(), rows.end(), rows_.data());
  stream_.copy_in(device_rows_.data(), rows_.data(), n);
}

// logits_ of these rows of the last batch.
void CudaBackend::compute_logits(std::span<const uint32_t> rows) {
  const auto n = static_cast<uint32_t>(rows.size());
  pick(rows);
  reserve_logits(n);
  quantize(h_.data(), ld_h_, device_rows_.data(), weights_.output_norm, config_.d_model,
           activation_limit(8), n);
  linear(weights_.head, Finish::store, logits_.data(), weights_.head.rows, n);
  if (config_.logit_softcap == 0.0F) return;
  constexpr uint32_t kCapBlocks = 1024;
  stream_.launch(cap_logits, dim3(kCapBlocks), kRowThreads, logits_.data(),
                 size_t{n} * weights_.head.rows, config_.logit_softcap);
}

std::span<const float> CudaBackend::logits(std::span<const uint32_t> rows) {
  if (rows.empty()) return {};
  compute_logits(rows);
  const size_t vocabulary = config_.vocab_size;
  const size_t n = rows.size() * vocabulary;
  if (host_logits_.size() < n) host_logits_ = PinnedArray<float>(n);
  const size_t width = vocabulary * sizeof(float);
  check(cudaMemcpy2DAsync(host_logits_.data(), width, logits_.data(),
                          weights_.head.rows * sizeof(float), width, rows.size(),
                          cudaMemcpyDeviceToHost, stream_.get()),
        "copying from the device");
  stream_.wait();
  return {host_logits_.data(), n};
}

std::span<const TokenId> CudaBackend::greatest(std::span<const uint32_t> rows) {
  if (rows.empty()) return {};
  compute_logits(rows);
  stream_.launch(find_greatest, dim3(static_cast<uint32_t>(rows.size())), kRowThreads,
                 logits_.data(), weights_.head.rows, config_.vocab_size, device_greatest_.data());
  stream_.copy_out(greatest_.data(), device_greatest_.data(), rows.size());
  stream_.wait();
  return {greatest_.data(), rows.size()};
}

std::span<const float> CudaBackend::states(std::span<const uint32_t> rows) {
  if (rows.empty()) return {};
  pick(rows);
  const size_t n = rows.size() * config_.d_model;
  if (states_.size() < n) {
    states_ = DeviceArray<float>(n);
    host_states_ = PinnedArray<float>(n);
  }
  stream_.launch(norm_rows, dim3(static_cast<uint32_t>(rows.size())), kRowThreads, h_.data(), ld_h_,
                 device_rows_.data(), weights_.output_norm, config_.norm_eps, config_.d_model,
                 states_.data());
  stream_.copy_out(host_states_.data(), states_.data(), n);
  stream_.wait();
  return {host_states_.data(), n};
}

void CudaBackend::copy_block(KvBlockId from, KvBlockId to) {
  check(cudaMemcpyAsync(blocks_.data() + to * block_bytes_, blocks_.data() + from * block_bytes_,
                        block_bytes_, cudaMemcpyDeviceToDevice, stream_.get()),
        "copying on the device");
}

void CudaBackend::read_block(KvBlockId block, std::span<uint8_t> to) {
  CHECK(to.size() == block_bytes_ && block < cache_.n_blocks());
  stream_.copy_out(to.data(), blocks_.data() + block * block_bytes_, to.size());
  stream_.wait();
}

void CudaBackend::write_block(KvBlockId block, std::span<const uint8_t> from) {
  CHECK(from.size() == block_bytes_ && block < cache_.n_blocks());
  stream_.copy_in(blocks_.data() + block * block_bytes_, from.data(), from.size());
  stream_.wait();
}

}  // namespace
}  // namespace cuda

Result<void> check_cuda() {
  const auto unavailable = [](const std::string& reason) {
    return Error{ErrorCode::unavailable, "no usable GPU: " + reason, "device"};
  };
  int n_devices = 0;
  if (const cudaError_t status = cudaGetDeviceCount(&n_devices); status != cudaSuccess) {
    cudaGetLastError();
    return unavailable(cudaGetErrorString(status));
  }
  if (n_devices == 0) return unavailable("the driver knows none");
  int major = 0;
  int minor = 0;
  cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0);
  cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, 0);
  if (major * 10 + minor < cuda::kLeastCapability) {
    return unavailable("its compute capability is " + std::to_string(major) + "." +
                       std::to_string(minor) + "; 8.0 is the least");
  }
  return {};
}

std::unique_ptr<Backend> make_cuda_backend(std::shared_ptr<const Model> model, KvCache& cache,
                                           uint32_t max_context) {
  return std::make_unique<cuda::CudaBackend>(std::move(model), cache, max_context);
}

}  // namespace tristill
