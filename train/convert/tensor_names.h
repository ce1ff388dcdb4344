// Names of tensors: Hugging Face's of the Llama family, which distillix and xinSLM share but for
// prefixes -> those of our model file (which are llama.cpp's). Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/config.h"

namespace tristill::convert {

// Nothing for a name that we do not know.
std::optional<std::string> our_name(std::string_view theirs);

struct ExpectedTensor {
  std::string name;
  std::vector<uint64_t> dims;  // [out, in] or [n]
};
// Every tensor of a model of ours in full precision.
std::vector<ExpectedTensor> expected_tensors(const ModelConfig& config);

}  // namespace tristill::convert
