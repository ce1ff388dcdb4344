// RequestHead: the request line and headers of one HTTP/1 request, checked (RFC 9112). What passes
// has one meaning: one length of body, one host, no control characters. Pure; any thread.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

namespace tristill::http {

struct RequestHead {
  std::string method;
  std::string target;  // in origin form: "/v1/models?x=y"
  std::string path;    // the target without its query, percent-decoded
  std::string version;
  std::map<std::string, std::string> headers;  // names in lower case; repeated ones joined by ", "
  size_t content_length = 0;
  bool chunked = false;
  bool gzipped = false;  // the body, which the length is of
  bool expects_continue = false;
  bool keep_alive = true;

  // The value exactly as it was sent, empty when absent; name in lower case.
  std::string header(std::string_view name) const;
  bool has_body() const { return chunked || content_length > 0; }
};

// Why a request is not answered by a route.
struct Refusal {
  int status = 400;
  std::string message;
};

// text ends with the empty line.
std::variant<RequestHead, Refusal> parse_request_head(std::string_view text, size_t max_headers);

// An unsigned number and nothing else: no sign, no space, no overflow.
std::optional<size_t> parse_digits(std::string_view text, int base);

std::string lower_case(std::string_view text);

// text without spaces and tabs at both ends.
std::string_view trimmed(std::string_view text);

}  // namespace tristill::http
