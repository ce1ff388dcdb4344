#include "train/device/kernel_launch.h"
#include "train/device/ops.h"

namespace tristill::train::device {
namespace {

using torch::Tensor;

QuantizedTokens room_for_tokens(const Tensor& x) {
  return {
      at::empty(x.sizes(), x.options().dtype(at::kChar)), at::empty({x.size(0)}, x.options()), {}};
}

FloatType float_type(at::ScalarType type) {
  if (type == at::kBFloat16) return FloatType::bf16;
  return type == at::kHalf ? FloatType::fp16 : FloatType::fp32;
}

Dequantized dequantize_by_kernel(const KernelLaunch& run, const Tensor& values, const Tensor& scale,
                                 at::ScalarType compute) {
  Dequantized out{at::empty(values.sizes(), values.options().dtype(compute)),
                  at::empty({values.size(0)}, values.options().dtype(at::kInt))};
  run(&Kernels::dequantize, values.data_ptr<int8_t>(), scale.data_ptr<float>(), scale.numel() > 1,
      values.size(0), values.size(1), float_type(compute), out.weights.data_ptr(),
      out.row_sum.data_ptr<int32_t>());
  return out;
}

}  // namespace

QuantizedTokens quantize_tokens(const Tensor& x, float limit) {
  if (const KernelLaunch run(x); run && fits_kernels(x)) {
    const QuantizedTokens out = room_for_tokens(x);
    run(&Kernels::quantize_tokens, x.data_ptr<float>(), x.size(0), x.size(1), limit,
        out.values.data_ptr<int8_t>(), out.scale.data_ptr<float>());
    return out;
  }
  const Tensor most = x.abs().amax(1);
  const Tensor limits = at::full_like(most, limit);
  const Tensor none = at::zeros_like(most);
  Tensor inverse = limits / most;
  // Infinite: a token of zeros, or as good as zeros. A NaN stays, and makes the scale one.
  const Tensor empty = inverse.isinf();
  inverse = at::where(empty, none, inverse);
  const Tensor scale = at::where(empty, none, most / limits);
  const Tensor values = (x * inverse.unsqueeze(1)).clamp_(-limit, limit).round_().to(at::kChar);
  return {values, scale, {}};
}

std::optional<QuantizedTokens> norm_quantize(const Tensor& x, const Tensor& gain, double eps,
                                             float limit) {
  const KernelLaunch run(x);
  if (!run || !fits_kernels(x)) return std::nullopt;
  const QuantizedTokens out = room_for_tokens(x);
  run(&Kernels::norm_quantize, x.data_ptr<float>(), gain.data_ptr<float>(), eps, x.size(0),
      x.size(1), limit, out.values.data_ptr<int8_t>(), out.scale.data_ptr<float>());
  return out;
}

TernaryMatrix ternarize(const Tensor& latent) {
  const Tensor w = latent.detach().contiguous();
  TernaryMatrix out;
  if (const KernelLaunch run(w); run && w.numel() > 0) {
    out.values = at::empty(w.sizes(), w.options().dtype(at::kChar));
    out.scale = at::empty({1}, w.options());
    const Tensor sums =
        at::empty({static_cast<int64_t>(kMagnitudeSums)}, w.options().dtype(at::kDouble));
    run(&Kernels::ternarize, w.data_ptr<float>(), w.numel(), sums.data_ptr<double>(),
        out.values.data_ptr<int8_t>(), out.scale.data_ptr<float>());
    return out;
  }
  const Tensor sum = w.abs().sum(at::kDouble);
  out.scale = (sum / static_cast<double>(w.numel())).to(at::kFloat).reshape({1});
  // Of zeros alone every ratio is 0 / 0, which is neither: T = 0.
  const Tensor ratio = w / out.scale;
  out.values = ratio.gt(0.5).to(at::kChar).sub_(ratio.lt(-0.5).to(at::kChar));
  return out;
}

Dequantized dequantize(const Tensor& values, const Tensor& scale, at::ScalarType compute) {
  if (const KernelLaunch run(values); run && values.is_contiguous() && values.numel() > 0) {
    return dequantize_by_kernel(run, values, scale, compute);
  }
  const Tensor factor = scale.numel() > 1 ? scale.unsqueeze(1) : scale;
  return {(values * factor).to(compute), values.sum(1, /*keepdim=*/false, at::kInt)};
}

Tensor dead_sums(const Tensor& latent, const Tensor& values) {
  return latent.detach().masked_fill(values.ne(0), 0.0).sum(1, /*keepdim=*/false, at::kDouble);
}

}  // namespace tristill::train::device
