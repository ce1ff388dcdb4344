#include "train/job/precision_spec.h"

#include "train/job/fields.h"

namespace tristill::job {
namespace {

constexpr double kLeastInitScale = 1e-2;

}  // namespace

std::string_view to_string(Precision precision) {
  switch (precision) {
    case Precision::bf16: return "bf16";
    case Precision::fp32: return "fp32";
    case Precision::fp16: return "fp16";
  }
  return "bf16";
}

void read_precision(Fields& fields, Precision& precision) {
  fields.choice<Precision>(
      "precision",
      {{"bf16", Precision::bf16}, {"fp32", Precision::fp32}, {"fp16", Precision::fp16}}, precision);
}

Result<void> check_precision(const TrainSpec& spec) {
  if (spec.precision != Precision::fp16) return {};
  if (!spec.quantized) {
    return refused("quantized",
                   " false computes its forward pass in fp16, and a loss scale saves gradients "
                   "only; set precision to bf16 or fp32");
  }
  if (spec.quantization.lambda_warmup_steps > 0) {
    return refused("quantization.lambda_warmup_steps",
                   " computes the forward pass in fp16 while it lasts, and a loss scale saves "
                   "gradients only; set precision to bf16 or fp32, or leave it out");
  }
  if (spec.init_scale < kLeastInitScale) {
    return refused("init_scale",
                   " below 0.01 makes weights whose scales fp16 does not hold: every gradient "
                   "would be lost; set precision to bf16 or fp32, or raise init_scale");
  }
  if (spec.optimizer.kind == OptimizerKind::distillix_muon) {
    return refused("optimizer.kind",
                   " distillix_muon shrinks the weights until fp16 holds none of their scales, "
                   "which hides its own collapse; set precision to bf16 or fp32, or kind to muon");
  }
  return {};
}

}  // namespace tristill::job
