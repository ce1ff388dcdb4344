// Methods of strings, lists and dictionaries: content.strip(), message.items(). What would change a
// value is refused: values are immutable, as in the sandbox that chat templates are written for.
#pragma once

#include <string_view>

#include "server/jinja/context.h"
#include "server/jinja/value.h"

namespace tristill::jinja {

// A function that is bound to object; undefined when its type has no such method.
Value find_method(Context& context, const Value& object, std::string_view name);

}  // namespace tristill::jinja
