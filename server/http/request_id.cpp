#include "server/http/request_id.h"

#include <sys/random.h>

#include <algorithm>
#include <cctype>
#include <vector>

#include "base/check.h"
#include "base/sha256.h"

namespace tristill::http {

std::string random_hex(size_t n) {
  std::vector<uint8_t> bytes(n);
  CHECK(::getrandom(bytes.data(), n, 0) == static_cast<ssize_t>(n));
  return to_hex(bytes);
}

std::string request_id_for(std::string_view given) {
  const bool sane = !given.empty() && given.size() <= 128 &&
                    std::all_of(given.begin(), given.end(), [](unsigned char c) {
                      return std::isalnum(c) != 0 || c == '.' || c == '_' || c == ':' || c == '-';
                    });
  return sane ? std::string(given) : "req_" + random_hex(12);
}

}  // namespace tristill::http
