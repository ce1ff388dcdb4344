// tojson: a value as JSON text, in the layout of Python's json.dumps as transformers calls it for
// chat templates: ", " and ": " between, characters beyond ASCII as they are. Strings keep their
// origins. Pays in Context. Errors: values that JSON does not have.
#pragma once

#include <optional>
#include <string>

#include "server/jinja/context.h"
#include "server/jinja/text.h"
#include "server/jinja/value.h"

namespace tristill::jinja {

struct JsonLayout {
  std::optional<std::string> indent;  // one line without
  std::string item_separator = ", ";
  std::string key_separator = ": ";
  bool ensure_ascii = false;
  bool sort_keys = false;
};

Text json_text(Context& context, const Value& value, const JsonLayout& layout);

}  // namespace tristill::jinja
