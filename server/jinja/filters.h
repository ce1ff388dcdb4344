// The filters of "|": trim, join, tojson and their like. Pure but for what they pay in Context.
#pragma once

#include <string_view>

#include "server/jinja/context.h"
#include "server/jinja/value.h"

namespace tristill::jinja {

using Filter = Value (*)(Context&, const Value&, const Arguments&);

// Null when there is no such filter.
Filter find_filter(std::string_view name);

}  // namespace tristill::jinja
