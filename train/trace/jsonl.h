// One JSON line to a trace Record: every field checked, refusals name the field.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "train/trace/record.h"

namespace tristill::trace {

// Errors: invalid_argument, param the field ("top_logprobs[3][0]"). Depth and sizes are capped.
Result<Record> parse_record(std::string_view json_line);

// The same record as one JSON line, without the newline.
std::string format_record(const Record& record);

}  // namespace tristill::trace
