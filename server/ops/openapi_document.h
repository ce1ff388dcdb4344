// openapi/openapi.yaml, embedded when the daemon is built.
#pragma once

#include <string_view>

namespace tristill::ops {

extern const std::string_view kOpenapiDocument;

}  // namespace tristill::ops
