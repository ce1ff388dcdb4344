// Keys as the text of DATA/keys.json, and back. Holds hashes, no secret. Pure; any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "server/access/key_store.h"

namespace tristill::access {

// path is for messages. Errors: corrupt, naming the entry and what is wrong with it.
Result<std::vector<Key>> parse_key_file(std::string_view text, const std::string& path);
std::string key_file_text(const std::vector<Key>& keys);

// {"name", "scopes", "expires_in"?, "requests_per_minute"?, "tokens_per_minute"?}, the body of
// POST /keys. Errors: invalid_argument, naming the field and what is accepted.
Result<KeyRequest> parse_key_request(std::string_view text);

}  // namespace tristill::access
