#include <torch/csrc/autograd/custom_function.h>
#include <torch/version.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "train/device/ops.h"

namespace tristill::train::device {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

constexpr int64_t kQueryBlock = 256;

// What is the same for all blocks. G KV heads a sequence, R queries' heads to each.
struct Shape {
  int64_t batch, groups, tokens, repeats, dim;
  float scale() const { return 1.0F / std::sqrt(static_cast<float>(dim)); }
};

Shape shape_of(const Tensor& q, const Tensor& k, const Tensor& segment_start) {
  const int64_t batch = segment_start.size(0);
  return {batch, q.size(0) / batch, k.size(1), q.size(1) / k.size(1), q.size(2)};
}

// Tokens t0 .. t1 of all sequences, and the keys that they may see: 0 .. t1.
struct Block {
  int64_t t0, t1;
  Tensor queries(const Shape& s, const Tensor& x) const {
    return x.slice(1, t0 * s.repeats, t1 * s.repeats);
  }
  Tensor keys(const Tensor& x) const { return x.slice(1, 0, t1); }
};

// Which keys a token does not see, [B, n, keys].
Tensor hidden_keys(const Tensor& segment_start, int64_t t0, int64_t t1) {
  const Tensor key = at::arange(t1, segment_start.options()).view({1, 1, t1});
  const Tensor token = key.slice(2, t0, t1).transpose(1, 2);
  return key.gt(token).logical_or(key.lt(segment_start.slice(1, t0, t1).unsqueeze(2)));
}

// softmax(cap(q k^t / sqrt(hd))) of a block, [B*G, n*R, keys]; slope becomes the cap's derivative.
Tensor probabilities(const Shape& s, const Block& b, const Tensor& q, const Tensor& k,
                     const Tensor& segment_start, double softcap, Tensor* slope) {
  Tensor scores = at::bmm(b.queries(s, q), b.keys(k).transpose(1, 2)).to(at::kFloat);
  scores.mul_(s.scale());
  if (softcap > 0) {
    scores.div_(softcap).tanh_();
    if (slope != nullptr) *slope = 1.0 - scores.square();
    scores.mul_(softcap);
  }
  const int64_t n = b.t1 - b.t0;
  const Tensor hidden = hidden_keys(segment_start, b.t0, b.t1).view({s.batch, 1, n, 1, b.t1});
  scores.view({s.batch, s.groups, n, s.repeats, b.t1})
      .masked_fill_(hidden, -std::numeric_limits<float>::infinity());
  return scores.softmax(-1);
}

// Keeps q, k, v and o, all in the compute type but o; probabilities come again in backward.
struct BlockedAttention : torch::autograd::Function<BlockedAttention> {
  static Variable forward(AutogradContext* ctx, const Variable& q, const Variable& k,
                          const Variable& v, const Tensor& segment_start, double softcap) {
    const Shape s = shape_of(q, k, segment_start);
    Tensor o = at::empty(q.sizes(), q.options().dtype(at::kFloat));
    for (int64_t t0 = 0; t0 < s.tokens; t0 += kQueryBlock) {
      const Block b{t0, std::min(t0 + kQueryBlock, s.tokens)};
      const Tensor p = probabilities(s, b, q, k, segment_start, softcap, nullptr);
      b.queries(s, o).copy_(at::bmm(p.to(v.scalar_type()), b.keys(v)));
    }
    ctx->save_for_backward({q, k, v, o, segment_start});
    ctx->saved_data["softcap"] = softcap;
    return o;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto saved = ctx->get_saved_variables();
    const Tensor &q = saved[0], &k = saved[1], &v = saved[2], &o = saved[3];
    const double softcap = ctx->saved_data["softcap"].toDouble();
    const Shape s = shape_of(q, k, saved[4]);
    const auto type = q.scalar_type();
    const Tensor row_dot = (grads[0] * o).sum(-1, /*keepdim=*/true);
    const Tensor d_out = grads[0].to(type);
    Tensor dq = at::empty_like(q);
    Tensor dk = at::zeros(k.sizes(), k.options().dtype(at::kFloat));
    Tensor dv = at::zeros_like(dk);
    for (int64_t t0 = 0; t0 < s.tokens; t0 += kQueryBlock) {
      const Block b{t0, std::min(t0 + kQueryBlock, s.tokens)};
      Tensor slope;
      const Tensor p = probabilities(s, b, q, k, saved[4], softcap, &slope);
      const Tensor d_block = b.queries(s, d_out);
      b.keys(dv).add_(at::bmm(p.to(type).transpose(1, 2), d_block));
      Tensor ds = at::bmm(d_block, b.keys(v).transpose(1, 2)).to(at::kFloat);
      ds.sub_(b.queries(s, row_dot)).mul_(p).mul_(s.scale());
      if (slope.defined()) ds.mul_(slope);
      const Tensor ds_compute = ds.to(type);
      b.queries(s, dq).copy_(at::bmm(ds_compute, b.keys(k)));
      b.keys(dk).add_(at::bmm(ds_compute.transpose(1, 2), b.queries(s, q)));
    }
    return {dq, dk.to(type), dv.to(type), Variable(), Variable()};
  }
};

#if TORCH_VERSION_MAJOR >= 2
// Differentiated by autograd. Queries of all heads side by side, keys repeated for theirs.
Tensor fused_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                       const Tensor& segment_start, at::ScalarType compute) {
  const Shape s = shape_of(q, k, segment_start);
  const auto heads = [&](const Tensor& x) {  // [B, G*R, T, hd]
    return x.to(compute)
        .reshape({s.batch, s.groups, s.tokens, -1, s.dim})
        .permute({0, 1, 3, 2, 4})
        .expand({s.batch, s.groups, s.repeats, s.tokens, s.dim})
        .reshape({s.batch, s.groups * s.repeats, s.tokens, s.dim});
  };
  const Tensor seen = hidden_keys(segment_start, 0, s.tokens).logical_not().unsqueeze(1);
  const Tensor o = at::scaled_dot_product_attention(heads(q), heads(k), heads(v), seen);
  return o.view({s.batch, s.groups, s.repeats, s.tokens, s.dim})
      .permute({0, 1, 3, 2, 4})
      .reshape(q.sizes())
      .to(at::kFloat);
}
#endif

}  // namespace

Tensor blocked_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                         const Tensor& segment_start, double softcap, at::ScalarType compute) {
  return BlockedAttention::apply(q.to(compute), k.to(compute), v.to(compute), segment_start,
                                 softcap);
}

Tensor segment_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                         const Tensor& segment_start, double softcap, at::ScalarType compute) {
#if TORCH_VERSION_MAJOR >= 2
  if (softcap <= 0) return fused_attention(q, k, v, segment_start, compute);
#endif
  return blocked_attention(q, k, v, segment_start, softcap, compute);
}

}  // namespace tristill::train::device
