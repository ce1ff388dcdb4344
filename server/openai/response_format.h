// What form the output must have, from a request's fields: OpenAI's response_format, llama.cpp's
// json_schema and grammar. A pure function; any thread.
#pragma once

#include <memory>
#include <string_view>

#include "model/grammar/grammar.h"
#include "server/openai/fields.h"

namespace tristill::openai {

// The grammar that the output must keep to; null where any text will do. Reads
//   response_format  {"type": "text" | "json_object"} or {"type": "json_schema", "json_schema":
//                    {"name", "strict", "schema"}}; beside json_object a "schema", as llama.cpp has
//   json_schema      a schema by itself
//   grammar          GBNF (model/grammar/gbnf.h)
// of which at most one may ask for a form. body is the text that the fields were read from: the
// order of a schema's properties is in there alone. What is wrong or not supported is refused in
// fields, by the path of what it is.
std::shared_ptr<const Grammar> read_output_form(Fields& fields, std::string_view body);

}  // namespace tristill::openai
