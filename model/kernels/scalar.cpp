// The specification of every kernel, in portable C++. Limit: none aimed at.
#include <cmath>
#include <cstring>
#include <limits>

#include "model/kernels/kernels.h"
#include "model/reduce.h"

namespace tristill::kernels {
namespace {

constexpr float kExpMin = -87.0F;
constexpr float kExpMax = 88.0F;

// e^t for t in [kExpMin, kExpMax] (clamped above), 0 below: Cephes expf. Two units in the last
// place; the same bits on every machine, because only +, *, fma and bit shifts occur.
float exp_value(float t) {
  if (!(t >= kExpMin)) return 0.0F;
  t = t < kExpMax ? t : kExpMax;
  constexpr float kRoundToInteger = 12582912.0F;  // 1.5 * 2^23
  const float n = std::fma(t, 1.44269504088896341F, kRoundToInteger) - kRoundToInteger;
  float r = std::fma(n, -0.693359375F, t);
  r = std::fma(n, 2.12194440e-4F, r);
  float p = 1.9875691500e-4F;
  p = std::fma(p, r, 1.3981999507e-3F);
  p = std::fma(p, r, 8.3334519073e-3F);
  p = std::fma(p, r, 4.1665795894e-2F);
  p = std::fma(p, r, 1.6666665459e-1F);
  p = std::fma(p, r, 5.0000001201e-1F);
  p = std::fma(p, r * r, r) + 1.0F;
  const uint32_t bits = static_cast<uint32_t>(static_cast<int32_t>(n) + 127) << 23;
  float power = 0.0F;
  std::memcpy(&power, &bits, sizeof power);
  return p * power;
}

float silu(float g) { return g / (1.0F + exp_value(0.0F - g)); }
float soft_capped(float score, float cap) {
  return cap - (2.0F * cap) / (1.0F + exp_value(score * (2.0F / cap)));
}
float squared_relu(float g) {
  const float positive = g > 0.0F ? g : 0.0F;
  return positive * positive;
}

// IEEE 754 half precision; rounds half to even. x is finite and at most 65504 in magnitude.
uint16_t to_half(float x) {
  uint32_t bits = 0;
  std::memcpy(&bits, &x, sizeof bits);
  const auto sign = static_cast<uint16_t>(bits >> 16 & 0x8000U);
  const float magnitude = std::fabs(x);
  if (magnitude < 6.103515625e-05F) {  // below 2^-14: multiples of 2^-24
    const float units = std::nearbyint(magnitude * 16777216.0F);
    return static_cast<uint16_t>(sign | static_cast<uint16_t>(units));
  }
  bits &= 0x7FFFFFFFU;
  bits += 0xFFFU + (bits >> 13 & 1U);
  return static_cast<uint16_t>(sign | ((bits - (112U << 23)) >> 13));
}
float from_half(uint16_t half) {
  const uint32_t exponent = half >> 10 & 31U;
  const uint32_t fraction = half & 1023U;
  float magnitude = 0.0F;
  if (exponent == 0) {
    magnitude = static_cast<float>(fraction) / 16777216.0F;
  } else {
    const uint32_t bits = (exponent + 112U) << 23 | fraction << 13;
    std::memcpy(&magnitude, &bits, sizeof bits);
  }
  return (half & 0x8000U) != 0 ? -magnitude : magnitude;
}

// The whole number that x becomes in a token (or key, or value) with this absmax, and its scale.
struct Quantizer {
  float inverse;
  float scale;
  float limit;
  explicit Quantizer(float most, float most_q = 127.0F)
      : inverse(most_q / most), scale(most / most_q), limit(most_q) {
    if (!std::isfinite(inverse)) inverse = scale = 0.0F;
  }
  int8_t operator()(float x) const {
    float v = x * inverse;
    v = v > -limit ? v : -limit;
    v = v < limit ? v : limit;
    return static_cast<int8_t>(std::nearbyint(v));
  }
};

float absmax_of(const float* x, size_t n) {
  float most = 0.0F;
  for (size_t i = 0; i < n; ++i) {
    const float a = std::fabs(x[i]);
    most = a > most ? a : most;
  }
  return most;
}

void quantize_tokens(const float* x, size_t tokens, size_t cols, float limit, int8_t* q,
                     float* scale, int32_t* sum) {
  for (size_t t = 0; t < tokens; ++t, x += cols, q += cols) {
    const Quantizer quantize(absmax_of(x, cols), limit);
    scale[t] = quantize.scale;
    sum[t] = 0;
    for (size_t c = 0; c < cols; ++c) {
      q[c] = quantize(x[c]);
      sum[t] += q[c];
    }
  }
}

float dot(const float* a, const float* b, size_t n) { return fma_in_order(a, b, n); }

void rms_norm(const float* x, const float* gain, float eps, float* y, size_t rows, size_t cols) {
  for (size_t r = 0; r < rows; ++r, x += cols, y += cols) {
    const float mean = dot(x, x, cols) / static_cast<float>(cols);
    const float inverse = 1.0F / std::sqrt(mean + eps);
    for (size_t c = 0; c < cols; ++c) y[c] = (x[c] * inverse) * gain[c];
  }
}

// The byte of column c of a tile's token t.
size_t tile_index(size_t c, size_t t, size_t n_tokens) {
  return (c / 4 * n_tokens + t) * 4 + c % 4;
}

void quantize_tile(const float* x, size_t ld_x, const float* gain, float eps, size_t n_tokens,
                   size_t cols, float limit, int8_t* q, float* scale, int32_t* sum,
                   float* scratch) {
  std::memset(q, 0, padded_columns(cols) * n_tokens);
  for (size_t t = 0; t < n_tokens; ++t, x += ld_x) {
    const float* row = x;
    if (gain != nullptr) {
      rms_norm(x, gain, eps, scratch, 1, cols);
      row = scratch;
    }
    const Quantizer quantize(absmax_of(row, cols), limit);
    scale[t] = quantize.scale;
    sum[t] = 0;
    for (size_t c = 0; c < cols; ++c) {
      const int8_t v = quantize(row[c]);
      q[tile_index(c, t, n_tokens)] = v;
      sum[t] += v;
    }
  }
}

// The weight of a panel's row at column c; of a kind that is one matrix.
int weight_at(PanelKind kind, const uint8_t* panel, size_t row, size_t c) {
  const size_t within = c % step_columns(kind);
  const uint8_t byte = panel[c / step_columns(kind) * kStepBytes + row * 4 + within % 4];
  const size_t k = within / 4;
  switch (kind) {
    case PanelKind::ternary: return (byte >> (2 * k) & 3) - 1;
    case PanelKind::int8: return static_cast<int8_t>(byte);
    case PanelKind::int4: return (byte >> (4 * k) & 15) - 8;
    default: break;
  }
  constexpr int kPowers[] = {1, 3, 9, 27, 81};
  return byte / kPowers[k] % 3 - 1;
}

// The weight of a row of the matrix at column c.
int weight_of(const LinearCall& call, size_t row, size_t c) {
  const auto in = [&](PanelKind kind, const uint8_t* panels) {
    return weight_at(kind, panels + row / kPanelRows * panel_bytes(kind, call.cols),
                     row % kPanelRows, c);
  };
  if (call.kind != PanelKind::sliced) return in(call.kind, call.panels);
  const int high = in(PanelKind::int4, call.panels) + 8;
  const int middle = in(PanelKind::ternary, call.middle) + 1;
  const int low = in(PanelKind::ternary, call.low) + 1;
  return 16 * high + 4 * middle + low - 128;
}

// The exact sum of a row of the matrix and a token.
int32_t exact_sum(const LinearCall& call, size_t row, size_t t) {
  int32_t total = 0;
  for (size_t c = 0; c < call.cols; ++c) {
    total += call.x.q[tile_index(c, t, call.x.n_tokens)] * weight_of(call, row, c);
  }
  return total;
}

float scaled_sum(const LinearCall& call, size_t row, size_t t) {
  const float scale = call.scale[scaled_by_row(call.kind) ? row : row / kHalfRows];
  const float y = static_cast<float>(exact_sum(call, row, t)) * (scale * call.x.scale[t]);
  return call.bias == nullptr ? y : y + call.bias[row];
}

void finish_row(const LinearCall& call, size_t row, size_t t) {
  const size_t at = t * call.ld_out + (row - call.panel_begin * kPanelRows);
  float* out = static_cast<float*>(call.out) + at;
  switch (call.finish) {
    case Finish::sums: static_cast<int32_t*>(call.out)[at] = exact_sum(call, row, t); break;
    case Finish::store: *out = scaled_sum(call, row, t); break;
    case Finish::add: *out = *out + scaled_sum(call, row, t); break;
    default: break;
  }
}

void finish_glu_panel(const LinearCall& call, size_t panel, size_t t) {
  float* out =
      static_cast<float*>(call.out) + t * call.ld_out + (panel - call.panel_begin) * kHalfRows;
  for (size_t i = 0; i < kHalfRows; ++i) {
    const float gate = scaled_sum(call, panel * kPanelRows + i, t);
    const float up = scaled_sum(call, panel * kPanelRows + kHalfRows + i, t);
    out[i] = (call.finish == Finish::swiglu ? silu(gate) : squared_relu(gate)) * up;
  }
}

void linear(const LinearCall& call) {
  const bool glu = call.finish == Finish::swiglu || call.finish == Finish::squared_relu_glu;
  for (size_t t = 0; t < call.x.n_tokens; ++t) {
    for (size_t p = call.panel_begin; p < call.panel_end; ++p) {
      if (glu) finish_glu_panel(call, p, t);
      for (size_t r = 0; r < kPanelRows && !glu; ++r) finish_row(call, p * kPanelRows + r, t);
    }
  }
}

float greatest_bound(const int32_t* sum, const SumBound& bound, const float* scale, size_t n) {
  float most = -std::numeric_limits<float>::infinity();
  for (size_t r = 0; r < n; ++r) {
    const float mean = std::fma(static_cast<float>(sum[r]), bound.factor, bound.open);
    const float slack = std::fma(std::fabs(mean), 1e-6F, 1.0F);
    const float value = (std::fma(bound.radius[r], bound.norm, mean) + slack) * scale[r];
    most = value > most ? value : most;
  }
  return most;
}

void int8_gemm(const int8_t* q, size_t tokens, const Int8View& w, size_t row_begin, size_t row_end,
               int32_t* acc, size_t ld_acc) {
  for (size_t t = 0; t < tokens; ++t) {
    for (size_t r = row_begin; r < row_end; ++r) {
      const int8_t* row = w.weights + r * w.cols;
      int32_t total = 0;
      for (size_t c = 0; c < w.cols; ++c) total += q[t * w.cols + c] * row[c];
      acc[t * ld_acc + (r - row_begin)] = total;
    }
  }
}

void rotate_half(float* x, const float* cosine, const float* sine, size_t half) {
  for (size_t i = 0; i < half; ++i) {
    const float a = x[i];
    const float b = x[i + half];
    x[i] = std::fma(a, cosine[i], 0.0F - b * sine[i]);
    x[i + half] = std::fma(b, cosine[i], a * sine[i]);
  }
}

float exp_sum(float* x, float max, size_t n) {
  return sum_in_order(n, [&](size_t i) { return x[i] = exp_value(x[i] - max); });
}

void swiglu(const float* gate, const float* up, float* out, size_t n) {
  for (size_t i = 0; i < n; ++i) out[i] = silu(gate[i]) * up[i];
}

void squared_relu_glu(const float* gate, const float* up, float* out, size_t n) {
  for (size_t i = 0; i < n; ++i) out[i] = squared_relu(gate[i]) * up[i];
}

// Where the elements of one position's key and value lie.
class KvSlot {
 public:
  KvSlot(const KvHead& kv, size_t position)
      : kv_(kv),
        slot_(position % kKvPositions),
        keys_(kv.base + kv.blocks[position / kKvPositions] * kv.stride),
        values_(keys_ + kv_keys_bytes(kv.format, kv.head_dim)),
        scales_(reinterpret_cast<float*>(values_ + kv_values_bytes(kv.format, kv.head_dim))) {}

  uint16_t& key_half(size_t d) const {
    return reinterpret_cast<uint16_t*>(keys_)[d * kKvPositions + slot_];
  }
  uint16_t& value_half(size_t d) const {
    return reinterpret_cast<uint16_t*>(values_)[value_index(d)];
  }
  int8_t& key_int8(size_t d) const {
    return reinterpret_cast<int8_t*>(keys_)[(d / 4 * kKvPositions + slot_) * 4 + d % 4];
  }
  int8_t& value_int8(size_t d) const { return reinterpret_cast<int8_t*>(values_)[value_index(d)]; }
  float& key_scale() const { return scales_[slot_]; }
  float& value_scale() const { return scales_[kKvPositions + slot_]; }

  float value(size_t d) const {
    return kv_.format == KvFormat::fp16 ? from_half(value_half(d))
                                        : static_cast<float>(value_int8(d));
  }

 private:
  size_t value_index(size_t d) const { return slot_ * whole_vectors(kv_.head_dim) + d; }

  const KvHead& kv_;
  size_t slot_;
  uint8_t* keys_;
  uint8_t* values_;
  float* scales_;
};

float clamp_to_half(float x) {
  constexpr float kMost = 65504.0F;
  x = x > -kMost ? x : -kMost;
  return x < kMost ? x : kMost;
}

void store_kv(const KvHead& kv, size_t position, const float* key, const float* value) {
  const KvSlot slot(kv, position);
  if (kv.format == KvFormat::fp16) {
    for (size_t d = 0; d < kv.head_dim; ++d) {
      slot.key_half(d) = to_half(clamp_to_half(key[d]));
      slot.value_half(d) = to_half(clamp_to_half(value[d]));
    }
    return;
  }
  const Quantizer quantize_key(absmax_of(key, kv.head_dim));
  const Quantizer quantize_value(absmax_of(value, kv.head_dim));
  slot.key_scale() = quantize_key.scale;
  slot.value_scale() = quantize_value.scale;
  for (size_t d = 0; d < kv.head_dim; ++d) {
    slot.key_int8(d) = quantize_key(key[d]);
    slot.value_int8(d) = quantize_value(value[d]);
  }
  for (size_t d = kv.head_dim; d % 4 != 0; ++d) slot.key_int8(d) = 0;
}

float score(const KvHead& kv, size_t position, const float* q) {
  const KvSlot slot(kv, position);
  if (kv.format == KvFormat::fp16) {
    float s = 0.0F;
    for (size_t d = 0; d < kv.head_dim; ++d) s = std::fma(q[d], from_half(slot.key_half(d)), s);
    return s;
  }
  const Quantizer quantize(absmax_of(q, kv.head_dim));
  int32_t exact = 0;
  for (size_t d = 0; d < kv.head_dim; ++d) exact += quantize(q[d]) * slot.key_int8(d);
  return static_cast<float>(exact) * (quantize.scale * slot.key_scale());
}

void attend_one(const AttentionCall& call, size_t query) {
  const KvHead& kv = call.kv;
  float* const scores = call.scores;
  float* const out = call.out[query];
  const size_t length = call.length[query];
  const size_t first = first_seen(call.length[query], call.window);
  for (size_t p = 0; p < first; ++p) scores[p] = -std::numeric_limits<float>::infinity();
  for (size_t p = first; p < length; ++p) {
    scores[p] = score(kv, p, call.q[query]);
    if (call.softcap > 0.0F) scores[p] = soft_capped(scores[p], call.softcap);
  }
  const float inverse = 1.0F / exp_sum(scores, max_of(scores, length), length);
  for (size_t d = 0; d < kv.head_dim; ++d) {
    float mixed = 0.0F;
    for (size_t p = first; p < length; ++p) {
      const KvSlot slot(kv, p);
      const float w = kv.format == KvFormat::fp16 ? scores[p] : scores[p] * slot.value_scale();
      mixed = std::fma(w, slot.value(d), mixed);
    }
    out[d] = mixed * inverse;
  }
}

void attend(const AttentionCall& call) {
  for (size_t i = 0; i < call.n_queries; ++i) attend_one(call, i);
}

}  // namespace

const KernelTable kScalar = {
    .isa = "scalar",
    .tile_tokens = 4,
    .unpacks_dense = false,
    .quantize_tokens = quantize_tokens,
    .quantize_tile = quantize_tile,
    .linear = linear,
    .greatest_bound = greatest_bound,
    .int8_gemm = int8_gemm,
    .store_kv = store_kv,
    .attend = attend,
    .rms_norm = rms_norm,
    .dot = dot,
    .rotate_half = rotate_half,
    .exp_sum = exp_sum,
    .swiglu = swiglu,
    .squared_relu_glu = squared_relu_glu,
};

}  // namespace tristill::kernels
