// Linear layers of the student. Forward is the integer contract of model/ternary.h, computed by
// the very kernels that serve; backward is the straight-through estimator in bf16 (or fp32).
//   forward   y = (x_q . T^t) * (gamma * s) [+ b]
//   backward  dx = dy . (gamma T),  d(gamma T) = dy^t . (s x_q)         Bengio et al. 2013
// How T, gamma and b come of W, and dW of d(gamma T), is the rule's: train/quant/ternary_rule.h.
// Shapes: x [N, in] fp32, W [out, in] fp32 latent, y [N, out] fp32. Trainer's thread only.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "train/quant/ternary_rule.h"
#include "train/student/low_rank.h"

namespace tristill::train {

enum class LinearMode {
  ternary,  // W is ternarised by a rule, x quantised to int8 a token
  int8,     // W quantised to int8 a row, x to int8 a token (the output head, the embedding)
  dense,    // no quantisation: a full-precision teacher
};

// One matrix: its parameters, and what is derived from them once an optimiser step. It learns its
// latent, and a scale if the rule has one; adapted, two thin factors instead.
class LinearWeight {
 public:
  LinearWeight() = default;
  // Without a rule a ternary matrix is absmean's. A learned scale starts at the latent's mean |W|.
  LinearWeight(torch::Tensor latent, LinearMode mode, at::ScalarType compute,
               std::shared_ptr<const TernaryRule> rule = nullptr);

  // A matrix of a model file as it is served: nothing to learn, so there is no latent.
  static LinearWeight frozen(torch::Tensor values, torch::Tensor scale, torch::Tensor bias,
                             LinearMode mode);

  // Recomputes the derived tensors. Call after every change of the parameters, before forward.
  // Below strength 1 the layer is only partly quantised, in floating point: it computes with
  // W + strength (gamma T - W) and x + strength (s x_q - x).     the warm-up of a conversion
  // That is for rules with neither a learned scale nor a bias.
  void refresh(double strength = 1.0);
  // A learned scale, if there is one, starts again from the latent as it is now.
  void restart_scale();
  // The latent is a ternary matrix, -s, 0 and s: makes it as long as the rule needs to give just
  // that again, as mean |W| counts zeros. Not of other matrices than ternary ones.
  void start_from_ternary();

  // From here on the latent stays as it is and the factors are learned. Of a dense matrix.
  void adapt(LowRank factors);

  // The tensors that it learns, the leaves of autograd; none of a matrix that is frozen.
  std::vector<torch::Tensor> learned() const;
  // Their gradients. dy: grad in the type compute. x is in it too: the tokens' whole numbers where
  // they are quantised, of token_scale [N, 1]; else token_scale is undefined.
  std::vector<torch::Tensor> backward(const torch::Tensor& grad, const torch::Tensor& dy,
                                      const torch::Tensor& x,
                                      const torch::Tensor& token_scale) const;

  // Takes values, scale and bias (or none), quantised wholly, from who has the latent; here that
  // grows old.
  void adopt(const torch::Tensor& values, const torch::Tensor& scale, const torch::Tensor& bias);

  const torch::Tensor& latent() const { return latent_; }
  const std::optional<LowRank>& low_rank() const { return low_rank_; }
  // The latent, with what the factors add to it if it is adapted. fp32, without gradient.
  torch::Tensor merged() const;
  const torch::Tensor& log_scale() const { return log_scale_; }  // [1]; undefined: not learned
  LinearMode mode() const { return mode_; }
  double strength() const { return strength_; }
  bool is_integer() const { return mode_ != LinearMode::dense && strength_ == 1.0; }
  at::ScalarType compute() const { return compute_; }
  const torch::Tensor& values() const { return values_; }  // [out, in] int8: T or q
  const torch::Tensor& scale() const { return scale_; }  // [1] gamma or [out], fp32
  const torch::Tensor& bias() const { return bias_; }  // [out] fp32; undefined: none
  const torch::Tensor& row_sum() const { return row_sum_; }  // [out] int32
  const torch::Tensor& dequantized() const { return dequantized_; }  // [out, in] in compute type
  // Share of the latents that no gradient reaches, by the rule itself.
  double clipped_share() const { return rule_ ? rule_->clipped_share(latent_, log_scale_) : 0; }

 private:
  void derive();  // what the passes compute with, of values and scale

  torch::Tensor latent_, log_scale_, values_, scale_, bias_, row_sum_, dequantized_;
  std::shared_ptr<const TernaryRule> rule_;  // of a ternary matrix
  std::optional<LowRank> low_rank_;  // of an adapted one
  LinearMode mode_ = LinearMode::ternary;
  at::ScalarType compute_ = at::kBFloat16;
  double strength_ = 1.0;
};

// Tokens quantised by the serving kernels, to whole numbers of at most `limit`: 127, or 7 (A4).
struct QuantizedTokens {
  torch::Tensor values;  // [N, in] int8
  torch::Tensor scale;  // [N] fp32
  torch::Tensor sum;  // [N] int32; undefined on another device than the CPU
};
QuantizedTokens quantize_tokens(const torch::Tensor& x, float limit = 127.0F);

// Exact int32 accumulators [N, out] of quantised tokens and an int8 or ternary matrix.
torch::Tensor integer_accumulators(const QuantizedTokens& x, const LinearWeight& weight);

// The input of a linear_group: x, or an x of which there are the tokens alone (normed_input).
struct LinearInput {
  LinearInput(torch::Tensor input) : x(std::move(input)) {}  // a plain x is one
  torch::Tensor x;
  QuantizedTokens tokens;  // by the group's limit; values undefined: not yet
};
// rms_norm(x) as the input of a group whose first matrix this is: normed and quantised in one, with
// nothing between, where the device has a kernel for it.
LinearInput normed_input(const torch::Tensor& x, const torch::Tensor& gain, double eps,
                         const LinearWeight& first, float limit);

// y_i = x W_i^t for several matrices that share their input (q, k, v; gate, up), so that the
// tokens are quantised once; of one mode and strength. Differentiable in x and in all that the
// matrices learn.
std::vector<torch::Tensor> linear_group(const LinearInput& input,
                                        const std::vector<const LinearWeight*>& weights,
                                        float limit = 127.0F);

}  // namespace tristill::train
