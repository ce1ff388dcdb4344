// The body of POST /traces: JSON Lines to records, all or none. Pure; any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "train/trace/record.h"

namespace tristill::traces {

// Errors: invalid_argument, param "name".
Result<void> check_set_name(std::string_view name);

// Blank lines are passed over. Errors: invalid_argument, naming line and field
// ("line 3: top_logprobs[1][0]"), or when there is no record at all.
Result<std::vector<trace::Record>> parse_upload(std::string_view body);

}  // namespace tristill::traces
