#include "train/run/job_student.h"

#include "train/quant/ternary_rule.h"
#include "train/run/precision.h"

namespace tristill::train {

Student job_student(const job::TrainSpec& spec, torch::Device device) {
  Student student(spec.model, spec.quantized, compute_type(spec.precision), spec.seed,
                  ternary_rule(spec.quantization), device);
  if (spec.lora) student.adapt(*spec.lora);
  student.recompute_blocks(spec.gradient_checkpointing);
  return student;
}

}  // namespace tristill::train
