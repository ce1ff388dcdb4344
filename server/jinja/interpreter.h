// The interpreter: walks a template's syntax tree and writes its output. One rendering, one thread.
// Throws Failure.
#pragma once

#include <map>
#include <string>

#include "server/jinja/context.h"
#include "server/jinja/syntax.h"
#include "server/jinja/text.h"

namespace tristill::jinja {

Text interpret(Context& context, const Block& body,
               const std::map<std::string, Value, std::less<>>& variables);

}  // namespace tristill::jinja
