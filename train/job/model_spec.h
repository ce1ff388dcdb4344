// What a job says about an architecture: the object "model" of the specification and the files in
// configs/models, as a ModelConfig. Pure; any thread.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "base/result.h"
#include "model/config.h"

namespace tristill::job {

class Fields;

// Reads the fields of the object. check_model then refuses a config that contradicts itself.
void read_model(Fields& fields, ModelConfig& config);
void check_model(Fields& fields, const ModelConfig& config);

// Every field, as read_model accepts it.
nlohmann::json model_json(const ModelConfig& config);

// A file in configs/models. Errors: invalid_argument with the field.
Result<ModelConfig> parse_model_config(std::string_view json);
std::string format_model_config(const ModelConfig& config);

}  // namespace tristill::job
