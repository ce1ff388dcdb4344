#include "train/student/linear.h"

#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "model/kernels/kernels.h"
#include "model/ternary.h"
#include "train/device/ops.h"
#include "train/quant/absmean.h"
#include "train/student/fused_ops.h"

namespace tristill::train {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

constexpr int64_t kRowGrain = 64;
constexpr int64_t kGemmTile = 512;  // tokens a kernel call: its packing of weights is paid once

// y[t, r] = acc[t, r] * (scale[r] * s[t]) [+ bias[r]], in the association of the contract.
void scale_rows(const int32_t* acc, const float* token_scale, const LinearWeight& weight,
                int64_t begin, int64_t end, int64_t cols, float* y) {
  const float* scale = weight.scale().data_ptr<float>();
  const bool per_row = weight.mode() == LinearMode::int8;
  const float* bias = weight.bias().defined() ? weight.bias().data_ptr<float>() : nullptr;
  for (int64_t t = begin; t < end; ++t) {
    const float s = token_scale[t];
    const int32_t* from = acc + (t - begin) * cols;
    float* to = y + t * cols;
    if (per_row) {
      for (int64_t c = 0; c < cols; ++c) to[c] = static_cast<float>(from[c]) * (scale[c] * s);
    } else {
      const float both = scale[0] * s;
      for (int64_t c = 0; c < cols; ++c) to[c] = static_cast<float>(from[c]) * both;
    }
    for (int64_t c = 0; bias != nullptr && c < cols; ++c) to[c] += bias[c];
  }
}

kernels::Int8View view_of(const LinearWeight& weight) {
  return {weight.values().data_ptr<int8_t>(), weight.row_sum().data_ptr<int32_t>(),
          static_cast<size_t>(weight.values().size(0)),
          static_cast<size_t>(weight.values().size(1))};
}

Tensor integer_forward(const QuantizedTokens& x, const LinearWeight& weight) {
  if (device::takes(x.values)) return device::integer_forward(x, weight);
  const auto view = view_of(weight);
  const int64_t n = x.values.size(0);
  const auto out = static_cast<int64_t>(view.rows);
  const auto in = static_cast<int64_t>(view.cols);
  Tensor y = at::empty({n, out}, at::kFloat);
  const auto& kernel = kernels::best();
  at::parallel_for(0, n, kGemmTile, [&](int64_t begin, int64_t end) {
    std::vector<int32_t> acc(static_cast<size_t>(kGemmTile * out));
    for (int64_t t = begin; t < end; t += kGemmTile) {
      const int64_t tile_end = std::min(t + kGemmTile, end);
      kernel.int8_gemm(x.values.data_ptr<int8_t>() + t * in, static_cast<size_t>(tile_end - t),
                       view, 0, view.rows, acc.data(), view.rows);
      scale_rows(acc.data(), x.scale.data_ptr<float>(), weight, t, tile_end, out,
                 y.data_ptr<float>());
    }
  });
  return y;
}

// x as layers see it that are quantised with less than full strength.
Tensor partly_quantized(const Tensor& x, float limit, double strength) {
  if (strength == 0) return x;
  const QuantizedTokens tokens = quantize_tokens(x.contiguous(), limit);
  return x + strength * (tokens.values * tokens.scale.unsqueeze(1) - x);
}

// Saved for backward: quantised values and token scales; or the input in the type compute, where
// anything is learned.
struct LinearGroup : torch::autograd::Function<LinearGroup> {
  // What the matrices learn is an argument of its own, because only such are seen by autograd.
  static variable_list forward(AutogradContext* ctx, const Variable& x, at::TensorList learned,
                               std::vector<const LinearWeight*> weights,
                               const QuantizedTokens& given, double limit) {
    CHECK(x.dim() == 2 && x.scalar_type() == at::kFloat);
    variable_list outputs;
    const bool dense = weights[0]->mode() == LinearMode::dense;
    if (!weights[0]->is_integer()) {
      const Tensor seen =
          dense ? x : partly_quantized(x, static_cast<float>(limit), weights[0]->strength());
      const Tensor x_compute = seen.to(weights[0]->compute());
      for (const auto* weight : weights) {
        outputs.push_back(at::mm(x_compute, weight->dequantized().t()).to(at::kFloat));
      }
      if (!learned.empty()) ctx->save_for_backward({x_compute});
    } else {
      const QuantizedTokens tokens =
          given.values.defined() ? given
                                 : quantize_tokens(x.contiguous(), static_cast<float>(limit));
      for (const auto* weight : weights) outputs.push_back(integer_forward(tokens, *weight));
      ctx->save_for_backward({tokens.values, tokens.scale});
    }
    std::vector<int64_t> addresses;
    for (const auto* weight : weights) addresses.push_back(reinterpret_cast<int64_t>(weight));
    ctx->saved_data["weights"] = addresses;
    ctx->saved_data["learned"] = static_cast<int64_t>(learned.size());
    return outputs;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto saved = ctx->get_saved_variables();
    const auto addresses = ctx->saved_data["weights"].toIntVector();
    const auto weight_at = [&](size_t i) {
      return reinterpret_cast<const LinearWeight*>(addresses[i]);
    };
    const auto compute = weight_at(0)->compute();
    const bool quantized = saved.size() == 2;
    Tensor x, token_scale;
    if (!saved.empty()) x = quantized ? saved[0].to(compute) : saved[0];
    if (quantized) token_scale = saved[1].unsqueeze(1);
    Tensor grad_x;
    variable_list results(1);
    for (size_t i = 0; i < grads.size(); ++i) {
      const Tensor dy = grads[i].to(compute);
      const Tensor part = at::mm(dy, weight_at(i)->dequantized());
      grad_x = grad_x.defined() ? grad_x + part : part;
      for (Tensor& gradient : weight_at(i)->backward(grads[i], dy, x, token_scale)) {
        results.push_back(std::move(gradient));
      }
    }
    const auto learned = static_cast<size_t>(ctx->saved_data["learned"].toInt());
    CHECK(results.size() == 1 + learned);
    results.resize(1 + learned + 3);  // none of the weights' addresses, the tokens and the limit
    results[0] = grad_x.to(at::kFloat);
    return results;
  }
};

}  // namespace

LinearWeight::LinearWeight(Tensor latent, LinearMode mode, at::ScalarType compute,
                           std::shared_ptr<const TernaryRule> rule)
    : latent_(std::move(latent)), rule_(std::move(rule)), mode_(mode), compute_(compute) {
  if (mode_ != LinearMode::ternary) rule_ = nullptr;
  else if (!rule_) rule_ = std::make_shared<Absmean>();
  if (!rule_ || !rule_->learns_scale()) return;
  log_scale_ = at::empty({1}, latent_.options().requires_grad(false)).set_requires_grad(true);
  restart_scale();
}

LinearWeight LinearWeight::frozen(Tensor values, Tensor scale, Tensor bias, LinearMode mode) {
  CHECK(mode != LinearMode::dense);
  LinearWeight weight;
  // The shape, without its memory.
  weight.latent_ = at::zeros({1, 1}, values.options().dtype(at::kFloat)).expand(values.sizes());
  weight.row_sum_ = values.sum(1, /*keepdim=*/false, at::kInt);
  weight.values_ = std::move(values);
  weight.scale_ = std::move(scale);
  weight.bias_ = std::move(bias);
  weight.mode_ = mode;
  return weight;
}

void LinearWeight::restart_scale() {
  if (!log_scale_.defined()) return;
  const torch::NoGradGuard no_grad;
  const double mean = latent_.detach().abs().mean().item<double>();
  log_scale_.fill_(std::log(std::max(mean, 1e-30)));  // of zeros alone: a scale as good as zero
}

// A rule's scale grows as the latent does.
void LinearWeight::start_from_ternary() {
  if (mode_ != LinearMode::ternary) return;
  const torch::NoGradGuard no_grad;
  restart_scale();
  const Tensor scale = rule_->ternarize(latent_.detach(), log_scale_).scale;
  const double given = latent_.detach().abs().max().item<double>();
  if (given == 0) return;
  latent_.mul_(given / scale.item<double>());
  restart_scale();
}

void LinearWeight::adapt(LowRank factors) {
  CHECK(mode_ == LinearMode::dense);
  latent_.set_requires_grad(false);
  low_rank_ = std::move(factors);
}

Tensor LinearWeight::merged() const {
  return low_rank_ ? low_rank_->merged(latent_) : latent_.detach();
}

std::vector<Tensor> LinearWeight::learned() const {
  if (low_rank_) return {low_rank_->a(), low_rank_->b()};
  if (!latent_.requires_grad()) return {};
  return log_scale_.defined() ? std::vector{latent_, log_scale_} : std::vector{latent_};
}

std::vector<Tensor> LinearWeight::backward(const Tensor& grad, const Tensor& dy, const Tensor& x,
                                           const Tensor& token_scale) const {
  if (low_rank_) {
    LowRank::Gradients found = low_rank_->backward(dy, x);
    return {std::move(found.a), std::move(found.b)};
  }
  if (!latent_.requires_grad()) return {};
  const Tensor scaled = token_scale.defined() ? (grad * token_scale).to(compute_) : dy;
  MatrixGradients of_matrix{at::mm(scaled.t(), x).to(at::kFloat), {}};
  if (!rule_) return {std::move(of_matrix.weight)};
  if (bias_.defined()) of_matrix.bias = grad.sum(0);
  LatentGradients found = rule_->backward(latent_, log_scale_, {values_, scale_, bias_}, of_matrix);
  if (!log_scale_.defined()) return {std::move(found.latent)};
  return {std::move(found.latent), std::move(found.log_scale)};
}

void LinearWeight::refresh(double strength) {
  const torch::NoGradGuard no_grad;
  strength_ = strength;
  if (mode_ == LinearMode::dense) {
    if (low_rank_) low_rank_->refresh();
    dequantized_ = merged().to(compute_, /*non_blocking=*/false, /*copy=*/!low_rank_);
    return;
  }
  const Tensor w = latent_.detach().contiguous();
  const auto rows = static_cast<size_t>(w.size(0));
  const auto cols = static_cast<size_t>(w.size(1));
  if (rule_) {
    TernaryMatrix made = rule_->ternarize(w, log_scale_);
    values_ = std::move(made.values);
    scale_ = std::move(made.scale);
    bias_ = std::move(made.bias);
    CHECK(strength == 1.0 || (!bias_.defined() && !log_scale_.defined()));
  } else if (device::takes(w)) {
    const QuantizedTokens quantized = device::quantize_tokens(w, 127.0F);
    values_ = quantized.values;
    scale_ = quantized.scale;
  } else {
    if (!values_.defined()) values_ = at::empty({w.size(0), w.size(1)}, at::kChar);
    if (!scale_.defined()) scale_ = at::empty({w.size(0)}, at::kFloat);
    quantize_rows_int8(w.data_ptr<float>(), rows, cols, values_.data_ptr<int8_t>(),
                       scale_.data_ptr<float>());
  }
  derive();
  if (strength == 1.0) return;
  const Tensor quantized = values_ * (mode_ == LinearMode::ternary ? scale_ : scale_.unsqueeze(1));
  dequantized_ = (w + strength * (quantized - w)).to(compute_);
}

void LinearWeight::derive() {
  auto made = device::dequantize(values_, scale_, compute_);
  dequantized_ = std::move(made.weights);
  row_sum_ = std::move(made.row_sum);
}

void LinearWeight::adopt(const Tensor& values, const Tensor& scale, const Tensor& bias) {
  CHECK(mode_ != LinearMode::dense && values.sizes() == latent_.sizes());
  const torch::NoGradGuard no_grad;
  strength_ = 1.0;
  values_ = values.to(latent_.device());
  scale_ = scale.to(latent_.device());
  bias_ = bias.defined() ? bias.to(latent_.device()) : bias;
  derive();
}

QuantizedTokens quantize_tokens(const Tensor& x, float limit) {
  if (device::takes(x)) return device::quantize_tokens(x, limit);
  const int64_t n = x.size(0);
  const int64_t cols = x.size(1);
  QuantizedTokens out{at::empty({n, cols}, at::kChar), at::empty({n}, at::kFloat),
                      at::empty({n}, at::kInt)};
  at::parallel_for(0, n, kRowGrain, [&](int64_t begin, int64_t end) {
    kernels::best().quantize_tokens(
        x.data_ptr<float>() + begin * cols, static_cast<size_t>(end - begin),
        static_cast<size_t>(cols), limit, out.values.data_ptr<int8_t>() + begin * cols,
        out.scale.data_ptr<float>() + begin, out.sum.data_ptr<int32_t>() + begin);
  });
  return out;
}

Tensor integer_accumulators(const QuantizedTokens& x, const LinearWeight& weight) {
  if (device::takes(x.values)) return device::integer_accumulators(x, weight);
  const auto view = view_of(weight);
  Tensor acc = at::empty({x.values.size(0), static_cast<int64_t>(view.rows)}, at::kInt);
  kernels::best().int8_gemm(x.values.data_ptr<int8_t>(), static_cast<size_t>(x.values.size(0)),
                            view, 0, view.rows, acc.data_ptr<int32_t>(), view.rows);
  return acc;
}

LinearInput normed_input(const Tensor& x, const Tensor& gain, double eps, const LinearWeight& first,
                         float limit) {
  if (first.is_integer() && device::takes(x)) {
    if (auto fused = device::normed_tokens(x, gain, eps, limit)) {
      LinearInput input(std::move(fused->stands_for));
      input.tokens = std::move(fused->tokens);
      return input;
    }
  }
  return rms_norm(x, gain, eps);
}

std::vector<Tensor> linear_group(const LinearInput& input,
                                 const std::vector<const LinearWeight*>& weights, float limit) {
  std::vector<Tensor> learned;
  for (const LinearWeight* weight : weights) {
    for (Tensor& tensor : weight->learned()) learned.push_back(std::move(tensor));
  }
  return LinearGroup::apply(input.x, at::TensorList(learned), weights, input.tokens,
                            static_cast<double>(limit));
}

}  // namespace tristill::train
