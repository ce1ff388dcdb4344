#include "server/http/request_head.h"

#include <algorithm>
#include <charconv>
#include <vector>

namespace tristill::http {
namespace {

constexpr size_t kMaxTarget = 8000;

struct Header {
  std::string name;  // in lower case
  std::string_view value;
};

bool is_token(std::string_view name) {
  constexpr std::string_view kMarks = "!#$%&'*+-.^_`|~";
  return !name.empty() && std::all_of(name.begin(), name.end(), [&](unsigned char c) {
    const bool letter = (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
    return letter || (c >= '0' && c <= '9') || kMarks.find(static_cast<char>(c)) != kMarks.npos;
  });
}

bool has_control(std::string_view text) {
  return std::any_of(text.begin(), text.end(),
                     [](unsigned char c) { return (c < ' ' && c != '\t') || c == 127; });
}

// Whether a comma-separated header names word.
bool names(std::string_view list, std::string_view word) {
  while (!list.empty()) {
    const size_t comma = std::min(list.find(','), list.size());
    if (lower_case(trimmed(list.substr(0, comma))) == word) return true;
    list.remove_prefix(std::min(comma + 1, list.size()));
  }
  return false;
}

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

// Who may use a path and which route takes it are decided by this one form of it.
std::optional<std::string> decoded_path(std::string_view target) {
  const std::string_view path = target.substr(0, target.find_first_of("?#"));
  std::string decoded;
  for (size_t i = 0; i < path.size(); ++i) {
    if (path[i] != '%') {
      decoded += path[i];
      continue;
    }
    const int high = i + 2 < path.size() ? hex_value(path[i + 1]) : -1;
    const int low = high < 0 ? -1 : hex_value(path[i + 2]);
    if (low < 0) return std::nullopt;
    decoded += static_cast<char>(high * 16 + low);
    i += 2;
  }
  if (has_control(decoded)) return std::nullopt;
  return decoded;
}

std::optional<Refusal> read_request_line(std::string_view line, RequestHead& head) {
  const size_t first = line.find(' ');
  const size_t last = line.rfind(' ');
  if (first == line.npos || first == last) return Refusal{400, "the request line is malformed"};
  std::string_view target = line.substr(first + 1, last - first - 1);
  head.method = line.substr(0, first);
  head.version = line.substr(last + 1);
  if (!is_token(head.method) || has_control(target) || target.find_first_of(" \t") != target.npos) {
    return Refusal{400, "the request line is malformed"};
  }
  if (head.version != "HTTP/1.1" && head.version != "HTTP/1.0") {
    return Refusal{505, "accepted are HTTP/1.1 and HTTP/1.0"};
  }
  if (target.size() > kMaxTarget) {
    return Refusal{414, "the path is longer than " + std::to_string(kMaxTarget) + " bytes"};
  }
  if (target.starts_with("http://")) {  // absolute form: RFC 9112, section 3.2.2
    target.remove_prefix(7);
    target.remove_prefix(std::min(target.find('/'), target.size()));
    if (target.empty()) target = "/";
  }
  if (!target.starts_with('/')) return Refusal{400, "the path must start with /"};
  constexpr std::string_view kMethods[] = {"GET",   "HEAD",   "POST",   "PUT",
                                           "PATCH", "DELETE", "OPTIONS"};
  if (std::find(std::begin(kMethods), std::end(kMethods), head.method) == std::end(kMethods)) {
    return Refusal{501, "method " + head.method + " is not implemented"};
  }
  auto path = decoded_path(target);
  if (!path) return Refusal{400, "the path's percent-encoding is malformed"};
  head.target = target;
  head.path = std::move(*path);
  return std::nullopt;
}

// The header lines between the request line and the empty line; none when one is malformed.
std::optional<std::vector<Header>> split_headers(std::string_view text) {
  std::vector<Header> headers;
  while (!text.starts_with("\r\n")) {
    const size_t end = text.find("\r\n");
    if (end == text.npos) return std::nullopt;
    const std::string_view line = text.substr(0, end);
    const size_t colon = line.find(':');
    if (colon == line.npos || !is_token(line.substr(0, colon)) || has_control(line)) {
      return std::nullopt;
    }
    headers.push_back({lower_case(line.substr(0, colon)), trimmed(line.substr(colon + 1))});
    text.remove_prefix(end + 2);
  }
  return headers;
}

// RFC 9112, section 6.3, without its tolerance: two lengths are never one.
std::optional<Refusal> read_framing(const std::vector<Header>& headers, RequestHead& head) {
  int lengths = 0, encodings = 0, hosts = 0;
  for (const Header& header : headers) {
    if (header.name == "content-length") {
      const auto length = parse_digits(header.value, 10);
      if (!length) return Refusal{400, "Content-Length is not a number"};
      head.content_length = *length;
      ++lengths;
    } else if (header.name == "transfer-encoding") {
      if (lower_case(header.value) != "chunked") {
        return Refusal{501, "Transfer-Encoding: accepted is chunked"};
      }
      head.chunked = true;
      ++encodings;
    } else if (header.name == "host") {
      ++hosts;
    } else if (header.name == "content-encoding" && lower_case(header.value) != "identity") {
      const std::string coding = lower_case(header.value);
      if (head.gzipped || (coding != "gzip" && coding != "x-gzip")) {
        return Refusal{415, "Content-Encoding: accepted is gzip, once, or none"};
      }
      head.gzipped = true;
    }
  }
  if (lengths + encodings > 1 || (head.chunked && head.version == "HTTP/1.0")) {
    return Refusal{400, "the length of the body is ambiguous: send one Content-Length, or chunks"};
  }
  if (hosts > 1 || (hosts == 0 && head.version == "HTTP/1.1")) {
    return Refusal{400, "send one Host header"};
  }
  return std::nullopt;
}

}  // namespace

std::string lower_case(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return lower;
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

std::optional<size_t> parse_digits(std::string_view text, int base) {
  size_t value = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (failure != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::string RequestHead::header(std::string_view name) const {
  const auto found = headers.find(std::string(name));
  return found == headers.end() ? std::string() : found->second;
}

std::variant<RequestHead, Refusal> parse_request_head(std::string_view text, size_t max_headers) {
  RequestHead head;
  const size_t end = text.find("\r\n");
  if (end == text.npos) return Refusal{400, "the request line is malformed"};
  if (auto refusal = read_request_line(text.substr(0, end), head)) return *refusal;
  const auto headers = split_headers(text.substr(end + 2));
  if (!headers) return Refusal{400, "a header is malformed"};
  if (headers->size() > max_headers) {
    return Refusal{431, "more than " + std::to_string(max_headers) + " headers"};
  }
  if (auto refusal = read_framing(*headers, head)) return *refusal;
  for (const Header& header : *headers) {
    const auto [place, is_new] = head.headers.emplace(header.name, header.value);
    if (!is_new) place->second.append(", ").append(header.value);
  }
  const std::string connection = head.header("connection");
  head.keep_alive = !names(connection, "close") &&
                    (head.version == "HTTP/1.1" || names(connection, "keep-alive"));
  head.expects_continue = lower_case(head.header("expect")) == "100-continue";
  return head;
}

}  // namespace tristill::http
