// Export: the student's integer weights as a model file. What is written is what the forward pass
// used: ternary values with their stored gamma and bias, never recomputed.
#pragma once

#include <filesystem>

#include "model/format/model_file.h"
#include "train/student/student.h"

namespace tristill::train {

// A dense student (a teacher) is exported with int8 rows: served W8A8.
ModelTensors to_model_tensors(const Student& student);

}  // namespace tristill::train
