// Request ids: the client's own when it is sane, else "req_" and 24 random hex digits.
#pragma once

#include <string>
#include <string_view>

namespace tristill::http {

// given is the raw x-request-id header, empty when absent. Sane: 1 to 128 of [A-Za-z0-9._:-].
std::string request_id_for(std::string_view given);

// n random bytes as hex, from the kernel.
std::string random_hex(size_t n);

}  // namespace tristill::http
