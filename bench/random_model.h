// Models of random weights in the shapes that peers are measured with.
#pragma once

#include <string>

#include "model/format/model_file.h"

namespace tristill::bench {

// "100m" is configs/models/distillix-100m.json, "700m" and "2b" are larger ones.
ModelConfig shape_named(const std::string& name);

// The same weights for the same config.
ModelTensors random_tensors(const ModelConfig& config);

}  // namespace tristill::bench
