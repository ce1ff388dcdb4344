#include "train/run/precision.h"

namespace tristill::train {

at::ScalarType compute_type(job::Precision precision) {
  switch (precision) {
    case job::Precision::bf16: return at::kBFloat16;
    case job::Precision::fp32: return at::kFloat;
    case job::Precision::fp16: return at::kHalf;
  }
  return at::kBFloat16;
}

Result<void> use_precision(job::Precision precision, const at::Device& device) {
  if (precision != job::Precision::fp16) return {};
  if (device.is_cpu()) {
    return Error{ErrorCode::invalid_argument,
                 "precision fp16 is for GPUs: processors have no fp16 products worth the name; "
                 "set precision to bf16 or fp32",
                 "precision"};
  }
  at::globalContext().setAllowFP16ReductionCuBLAS(false);
  return {};
}

}  // namespace tristill::train
