// The tests of "is": defined, string, equalto and their like. Pure but for what they pay in
// Context.
#pragma once

#include <string_view>

#include "server/jinja/context.h"
#include "server/jinja/value.h"

namespace tristill::jinja {

using Predicate = bool (*)(Context&, const Value&, const Arguments&);

// Null when there is no such test.
Predicate find_predicate(std::string_view name);

}  // namespace tristill::jinja
