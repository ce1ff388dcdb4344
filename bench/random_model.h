// Models of random weights in the shapes that peers are measured with.
#pragma once

#include <memory>
#include <string>

#include "model/weights.h"

namespace tristill::bench {

// "100m" has the widths of configs/models/distillix-100m.json, "700m" and "2b" are larger ones.
ModelConfig shape_named(const std::string& name);

// The same weights for the same config.
ModelTensors random_tensors(const ModelConfig& config);

// The model of a file, or without one random weights of a shape. Errors: those of load_model.
Result<std::shared_ptr<const Model>> open_model(const std::string& file, const std::string& shape,
                                                const PackingOptions& packing = {});

}  // namespace tristill::bench
