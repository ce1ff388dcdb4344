// The trainer's operations for tensors that are not the CPU's, in ATen, so they run wherever ATen
// does; on a CUDA device some are kernels of ours instead (kernels.h, which says what holds of
// them). Each is called from the entry of the CPU's operation of the same name, which says what it
// computes; only what differs is said here. They take CPU tensors as well, which is how they are
// tested. Trainer's thread only.
//
// What holds on every device (model/ternary.h):
//   - the quantised tokens of the same fp32 numbers, and their scales, are the same to the bit:
//     half goes to even, and divisors are tensors, because CUDA divides by a CPU number through
//     its reciprocal, which rounds twice;
//   - int32 sums are exact, and are scaled in fp32 in the contract's association;
//   - sums of floats are in orders of their own: gamma and losses, and ATen's norms, differ in the
//     last bits. What is exported is what was computed with.
// Nothing here waits for the device, so a number that is not finite is not refused: it stays one,
// is seen in the loss, and the step is left out.
#pragma once

#include <torch/types.h>

#include <optional>

#include "model/config.h"
#include "train/quant/ternary_rule.h"
#include "train/student/fused_ops.h"
#include "train/student/linear.h"

namespace tristill::train::device {

// Whether the operations here are for this tensor: it is not the CPU's, or a test wants them so.
bool takes(const torch::Tensor& x);

// For tests: while it lives, the operations here take CPU tensors, too.
class TakesEverything {
 public:
  TakesEverything();
  ~TakesEverything();
  TakesEverything(const TakesEverything&) = delete;
  TakesEverything& operator=(const TakesEverything&) = delete;
};

torch::Tensor rms_norm(const torch::Tensor& x, const torch::Tensor& gain, double eps);

torch::Tensor glu(const torch::Tensor& gate, const torch::Tensor& up, Activation activation);

torch::Tensor norm_rope_heads(const torch::Tensor& x, const torch::Tensor& gain, double eps,
                              const RopeTable& rope, int64_t batch, int64_t groups);

// By scaled_dot_product_attention where libtorch has it (2.0) and there is no cap on scores, else
// by blocks of queries, as on the CPU.
torch::Tensor segment_attention(const torch::Tensor& q, const torch::Tensor& k,
                                const torch::Tensor& v, const torch::Tensor& segment_start,
                                double softcap, at::ScalarType compute);
// The second way, whatever libtorch has.
torch::Tensor blocked_attention(const torch::Tensor& q, const torch::Tensor& k,
                                const torch::Tensor& v, const torch::Tensor& segment_start,
                                double softcap, at::ScalarType compute);

// Without the sums, which only the CPU's kernels need. Also the int8 rows of a table, at 127.
QuantizedTokens quantize_tokens(const torch::Tensor& x, float limit);

// quantize_tokens(rms_norm(x)) in one, where a kernel does it; nothing elsewhere.
std::optional<QuantizedTokens> norm_quantize(const torch::Tensor& x, const torch::Tensor& gain,
                                             double eps, float limit);
// The same with a way back, for linear_group: `stands_for` is rms_norm(x) in autograd's graph and
// has its shape alone, its numbers were never written and must not be read.
struct NormedTokens {
  torch::Tensor stands_for;
  QuantizedTokens tokens;
};
std::optional<NormedTokens> normed_tokens(const torch::Tensor& x, const torch::Tensor& gain,
                                          double eps, float limit);

// absmean. Values that are not finite give a gamma that is not.
TernaryMatrix ternarize(const torch::Tensor& latent);
// values * scale as the backward pass multiplies with it, and the sums of rows [out] int32; scale
// [1] or [out]. Of every device.
struct Dequantized {
  torch::Tensor weights, row_sum;
};
Dequantized dequantize(const torch::Tensor& values, const torch::Tensor& scale,
                       at::ScalarType compute);
// Sums in fp64 of the weights of each row that became zero, [out].
torch::Tensor dead_sums(const torch::Tensor& latent, const torch::Tensor& values);

// a . b^t exactly, [M, N] int32; a [M, K], b [N, K] int8, |a| <= 127, |b| <= most_b.
torch::Tensor integer_product(const torch::Tensor& a, const torch::Tensor& b, int64_t most_b);
torch::Tensor integer_accumulators(const QuantizedTokens& x, const LinearWeight& weight);
// y = acc * (scale * s) [+ bias], the bits of the CPU's.
torch::Tensor integer_forward(const QuantizedTokens& x, const LinearWeight& weight);

// sum of the rows of grad [N, D] by the token of each, [vocab, D]: an embedding's gradient. In one
// order a device, without atomic additions.
torch::Tensor row_gradients(const torch::Tensor& grad, const torch::Tensor& tokens, int64_t vocab);

// sum x_i^2 of each in fp64, read from the device at once.
std::vector<double> sums_of_squares(const std::vector<torch::Tensor>& tensors);
// How many elements of each are exactly zero, likewise.
std::vector<double> counts_of_zeros(const std::vector<torch::Tensor>& tensors);

}  // namespace tristill::train::device
