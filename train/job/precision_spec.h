// The precision of a job: its names, and what does not go with fp16. Pure; any thread.
//
// fp16 has numbers from 6.1e-5 (6e-8 with fewer digits) to 65504. A published ternary model died of
// it, not of its quantiser: the product of a weight's scale and a token's scale was taken in fp16,
// was 0 below a latent std of about 1e-3, and so were all outputs and gradients; weight decay did
// the rest. Here that product is fp32 under every precision and the forward pass is one of whole
// numbers; fp16 is for the products of the backward pass, whose gradients a loss scale lifts
// (train/run/loss_scale.h). What no scale lifts is refused:
//   quantized false, quantization.lambda_warmup_steps
//       the forward pass is then one in the compute type, and a loss scale scales gradients only
//   init_scale below 1e-2
//       gamma T, a factor of every gradient, leaves fp16's normal range: of 1/sqrt(D) = 0.02 and
//       o and down another 1/sqrt(2 L) = 1/8 of it, 1e-2 of that is 2.6e-5
//   optimizer.kind distillix_muon
//       it shrinks the weights until gamma T is 0 in fp16: a collapse beside the one it is to show
// The z-loss is not among them: its gradient is added to the cross-entropy's in fp32, for the same
// logit, before the sum is rounded.
#pragma once

#include <string_view>

#include "base/result.h"
#include "train/job/spec.h"

namespace tristill::job {

class Fields;

std::string_view to_string(Precision precision);
void read_precision(Fields& fields, Precision& precision);

// Errors: invalid_argument, of the setting that fp16 does not go with.
Result<void> check_precision(const TrainSpec& spec);

}  // namespace tristill::job
