#include "train/student/attention.h"

#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"
#include "model/kernels/kernels.h"
#include "train/device/ops.h"

namespace tristill::train {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

constexpr int64_t kQueryBlock = 64;

[[gnu::target_clones("avx512f", "avx2", "default")]]
void scale_and_max(float* x, float scale, int64_t n, float* max) {
  float lanes[16];
  for (float& lane : lanes) lane = -std::numeric_limits<float>::infinity();
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    for (int64_t j = 0; j < 16; ++j) {
      x[i + j] *= scale;
      lanes[j] = x[i + j] > lanes[j] ? x[i + j] : lanes[j];
    }
  }
  for (; i < n; ++i) {
    x[i] *= scale;
    lanes[0] = x[i] > lanes[0] ? x[i] : lanes[0];
  }
  float best = lanes[0];
  for (const float lane : lanes) best = lane > best ? lane : best;
  *max = best;
}

[[gnu::target_clones("avx512f", "avx2", "default")]]
void multiply_by(float* x, float factor, int64_t n) {
  for (int64_t i = 0; i < n; ++i) x[i] *= factor;
}

// ds = p * (dp - d) * scale
[[gnu::target_clones("avx512f", "avx2", "default")]]
void softmax_backward(const float* p, float* dp, float d, float scale, int64_t n) {
  for (int64_t i = 0; i < n; ++i) dp[i] = p[i] * (dp[i] - d) * scale;
}

// x = cap * tanh(x / cap), as the serving kernels cap; slope = its derivative.
void soft_cap(float* x, float* slope, float cap, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const float tanh = 1.0F - 2.0F / (1.0F + std::exp(x[i] * (2.0F / cap)));
    x[i] = cap * tanh;
    if (slope != nullptr) slope[i] = 1.0F - tanh * tanh;
  }
}

// The queries of one block of one sequence and the keys that any of them may see.
struct Block {
  int64_t t0, t1;     // tokens
  int64_t keys_from;  // first key; the last is t1 - 1
  int64_t n_keys() const { return t1 - keys_from; }
};

// One KV head of one sequence: its queries [T*R, hd], keys and values [T, hd].
struct Head {
  Tensor q, k, v;
  const int32_t* start;  // [T]
  int64_t tokens, repeats;
  float scale;
  float softcap;

  Block block(int64_t t0) const { return {t0, std::min(t0 + kQueryBlock, tokens), start[t0]}; }
  Tensor queries(const Block& b, const Tensor& x) const {
    return x.slice(0, b.t0 * repeats, b.t1 * repeats);
  }
  static Tensor keys(const Block& b, const Tensor& x) { return x.slice(0, b.keys_from, b.t1); }

  // softmax(cap(q k^t / sqrt(hd))) of a block; keys outside the segment give 0. slope, of the same
  // shape, becomes the cap's derivative; undefined: not wanted.
  Tensor probabilities(const Block& b, const Tensor& slope = {}) const {
    Tensor p = at::mm(queries(b, q), keys(b, k).t());
    const int64_t n = b.n_keys();
    for (int64_t row = 0; row < p.size(0); ++row) {
      const int64_t t = b.t0 + row / repeats;
      float* out = p.data_ptr<float>() + row * n;
      const int64_t from = start[t] - b.keys_from;
      const int64_t to = t + 1 - b.keys_from;
      std::fill(out, out + from, 0.0F);
      std::fill(out + to, out + n, 0.0F);
      float max = 0.0F;
      scale_and_max(out + from, scale, to - from, &max);
      if (softcap > 0) {
        float* slopes = slope.defined() ? slope.data_ptr<float>() + row * n + from : nullptr;
        soft_cap(out + from, slopes, softcap, to - from);
        soft_cap(&max, nullptr, softcap, 1);
      }
      const float sum = kernels::best().exp_sum(out + from, max, static_cast<size_t>(to - from));
      multiply_by(out + from, 1.0F / sum, to - from);
    }
    return p;
  }
};

Head head_at(int64_t index, const Tensor& q, const Tensor& k, const Tensor& v,
             const Tensor& segment_start, double softcap) {
  const int64_t tokens = k.size(1);
  const int64_t groups = q.size(0) / segment_start.size(0);
  return {q[index],
          k[index],
          v[index],
          segment_start.data_ptr<int32_t>() + index / groups * tokens,
          tokens,
          q.size(1) / tokens,
          1.0F / std::sqrt(static_cast<float>(q.size(2))),
          static_cast<float>(softcap)};
}

void head_forward(const Head& head, Tensor o) {
  for (int64_t t0 = 0; t0 < head.tokens; t0 += kQueryBlock) {
    const Block b = head.block(t0);
    Tensor out = head.queries(b, o);
    at::mm_out(out, head.probabilities(b), Head::keys(b, head.v));
  }
}

void head_backward(const Head& head, const Tensor& o, const Tensor& d_out, Tensor dq, Tensor dk,
                   Tensor dv) {
  const Tensor row_dot = (d_out * o).sum(1);  // [T*R]
  for (int64_t t0 = 0; t0 < head.tokens; t0 += kQueryBlock) {
    const Block b = head.block(t0);
    const Tensor slope =
        head.softcap > 0 ? at::zeros({(b.t1 - b.t0) * head.repeats, b.n_keys()}) : Tensor();
    const Tensor p = head.probabilities(b, slope);
    const Tensor d_block = head.queries(b, d_out);
    Head::keys(b, dv).addmm_(p.t(), d_block);
    Tensor ds = at::mm(d_block, Head::keys(b, head.v).t());
    const float* dots = row_dot.data_ptr<float>() + b.t0 * head.repeats;
    for (int64_t row = 0; row < ds.size(0); ++row) {
      softmax_backward(p.data_ptr<float>() + row * b.n_keys(),
                       ds.data_ptr<float>() + row * b.n_keys(), dots[row], head.scale, b.n_keys());
    }
    if (slope.defined()) ds.mul_(slope);
    Tensor dq_block = head.queries(b, dq);
    at::mm_out(dq_block, ds, Head::keys(b, head.k));
    Head::keys(b, dk).addmm_(ds.t(), head.queries(b, head.q));
  }
}

struct SegmentAttention : torch::autograd::Function<SegmentAttention> {
  static Variable forward(AutogradContext* ctx, const Variable& q, const Variable& k,
                          const Variable& v, const Tensor& segment_start, double softcap) {
    Tensor o = at::empty_like(q);
    at::parallel_for(0, q.size(0), 1, [&](int64_t begin, int64_t end) {
      const torch::NoGradGuard no_grad;
      for (int64_t i = begin; i < end; ++i) {
        head_forward(head_at(i, q, k, v, segment_start, softcap), o[i]);
      }
    });
    ctx->save_for_backward({q, k, v, o, segment_start});
    ctx->saved_data["softcap"] = softcap;
    return o;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto saved = ctx->get_saved_variables();
    const Tensor &q = saved[0], &k = saved[1], &v = saved[2], &o = saved[3];
    const Tensor d_out = grads[0].contiguous();
    const double softcap = ctx->saved_data["softcap"].toDouble();
    Tensor dq = at::empty_like(q);
    Tensor dk = at::zeros_like(k);
    Tensor dv = at::zeros_like(v);
    at::parallel_for(0, q.size(0), 1, [&](int64_t begin, int64_t end) {
      const torch::NoGradGuard no_grad;
      for (int64_t i = begin; i < end; ++i) {
        head_backward(head_at(i, q, k, v, saved[4], softcap), o[i], d_out[i], dq[i], dk[i], dv[i]);
      }
    });
    return {dq, dk, dv, Variable(), Variable()};
  }
};

}  // namespace

Tensor segment_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                         const Tensor& segment_start, double softcap, at::ScalarType compute) {
  CHECK(q.size(0) == k.size(0) && q.size(1) % k.size(1) == 0 && k.sizes() == v.sizes());
  if (device::takes(q)) return device::segment_attention(q, k, v, segment_start, softcap, compute);
  return SegmentAttention::apply(q.contiguous(), k.contiguous(), v.contiguous(), segment_start,
                                 softcap);
}

}  // namespace tristill::train
