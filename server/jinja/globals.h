// The functions that every template knows: range, dict, namespace, raise_exception, strftime_now.
#pragma once

#include <string_view>

#include "server/jinja/value.h"

namespace tristill::jinja {

// Undefined when there is no such function.
Value find_global(std::string_view name);

}  // namespace tristill::jinja
