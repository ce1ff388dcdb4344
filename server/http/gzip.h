// gzip (RFC 1952) of a request's body: plain bytes up to a limit, so that a small body cannot
// become a large one unnoticed. Pure; any thread.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace tristill::http {

// One or more members and nothing after them. Errors: resource_exhausted when there would be more
// than max_bytes, corrupt when bytes are no gzip, damaged or cut off.
Result<std::string> gunzip(std::string_view bytes, size_t max_bytes);

}  // namespace tristill::http
