#include "server/http/site_policy.h"

#include <algorithm>
#include <cctype>

#include "server/http/error.h"

namespace tristill::http {
namespace {

// What a page may read of an answer besides its body.
constexpr std::string_view kExposed =
    "x-request-id, openai-processing-ms, server-timing, x-ignored-params, x-should-retry, "
    "retry-after, retry-after-ms, x-ratelimit-limit-requests, x-ratelimit-remaining-requests, "
    "x-ratelimit-reset-requests, x-ratelimit-limit-tokens, x-ratelimit-remaining-tokens, "
    "x-ratelimit-reset-tokens";

constexpr const char* kNameCharacters = "abcdefghijklmnopqrstuvwxyz0123456789.-_";

bool contains(const std::vector<std::string>& list, std::string_view entry) {
  return std::find(list.begin(), list.end(), entry) != list.end();
}

// "localhost:8080" -> "localhost"; empty for what is no host and port.
std::string name_of(std::string_view authority) {
  const size_t bracket = authority.starts_with('[') ? authority.find(']') : 0;
  if (bracket == authority.npos) return "";
  const size_t colon = std::min(authority.find(':', bracket), authority.size());
  const std::string_view port = authority.substr(std::min(colon + 1, authority.size()));
  if (!port.empty() && (!parse_digits(port, 10) || port.size() > 5)) return "";
  std::string name = lower_case(authority.substr(0, colon));
  if (bracket != 0 && name.size() != bracket + 1) return "";
  const auto* accepted = bracket != 0 ? "[]:.0123456789abcdef" : kNameCharacters;
  return name.find_first_not_of(accepted) == name.npos ? name : "";
}

bool is_loopback_name(std::string_view name) {
  return name == "localhost" || name == "127.0.0.1" || name == "[::1]";
}

// "http://localhost:3000" -> "localhost"; empty for "null" and the like.
std::string name_of_origin(std::string_view origin) {
  const size_t scheme = origin.find("://");
  return scheme == origin.npos ? "" : name_of(origin.substr(scheme + 3));
}

bool changes(const RequestHead& head) { return head.method != "GET" && head.method != "HEAD"; }

bool is_header_list(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '-' || c == '_' || c == ',' || c == ' ';
  });
}

Error wrong(const char* setting, const std::string& entry, const char* accepted) {
  return {ErrorCode::invalid_argument,
          std::string(setting) + " \"" + entry + "\": accepted is " + accepted, setting};
}

}  // namespace

SitePolicy::SitePolicy(SiteOptions options, bool is_loopback, bool is_unix)
    : options_(std::move(options)), is_loopback_(is_loopback), is_unix_(is_unix) {}

Result<void> SitePolicy::check(const SiteOptions& options) {
  for (const std::string& host : options.allowed_hosts) {
    if (host.empty() || name_of(host) != host) {
      return wrong("allowed_hosts", host, "a host name in lower case, without a port");
    }
  }
  for (const std::string& origin : options.cors_origins) {
    const bool is_origin = !name_of_origin(origin).empty() && origin == lower_case(origin) &&
                           (origin.starts_with("http://") || origin.starts_with("https://"));
    if (origin != "*" && origin != "localhost" && !is_origin) {
      return wrong(
          "cors_origins", origin,
          "an origin such as https://ide.example, localhost for any of this machine, or *");
    }
  }
  return {};
}

bool SitePolicy::is_known_host(const RequestHead& head) const {
  const std::string host = head.header("host");
  if (is_unix_ || (!is_loopback_ && options_.allowed_hosts.empty())) return true;
  if (host.empty() && head.version == "HTTP/1.0") return true;  // no browser
  const std::string name = name_of(host);
  if (contains(options_.allowed_hosts, name)) return true;
  return is_loopback_name(name);
}

bool SitePolicy::is_allowed_origin(const std::string& origin) const {
  const auto& allowed = options_.cors_origins;
  if (contains(allowed, "*") || contains(allowed, origin)) return true;
  return contains(allowed, "localhost") && is_loopback_name(name_of_origin(origin));
}

std::optional<Response> SitePolicy::refusal_of(const RequestHead& head) const {
  if (!is_known_host(head)) {
    return error_response(
        421, "",
        "this server does not answer to the Host that was asked for; it answers to localhost, "
        "127.0.0.1 and [::1], and to the names in its setting allowed_hosts",
        "", "");
  }
  const std::string origin = head.header("origin");
  if (origin.empty() || !changes(head) || is_allowed_origin(origin)) return std::nullopt;
  const std::string from = name_of_origin(origin);
  // Pages of this machine and of this very host may ask, if not read.
  if (is_loopback_name(from)) return std::nullopt;
  if (!from.empty() && from == name_of(head.header("host"))) return std::nullopt;
  return error_response(403, "",
                        "requests from pages of another site are refused; the setting "
                        "cors_origins names those that are allowed",
                        "", "origin_not_allowed");
}

bool SitePolicy::is_preflight(const RequestHead& head) {
  return head.method == "OPTIONS" && !head.has_body() && !head.header("origin").empty() &&
         !head.header("access-control-request-method").empty();
}

Response SitePolicy::preflight_answer(const RequestHead& head) const {
  Response response;
  response.status = 204;
  if (!is_allowed_origin(head.header("origin"))) return response;  // without a word: not allowed
  response.headers["Access-Control-Allow-Methods"] = "GET, HEAD, POST, PUT, PATCH, DELETE";
  const std::string wanted = head.header("access-control-request-headers");
  if (!wanted.empty() && is_header_list(wanted)) {
    response.headers["Access-Control-Allow-Headers"] = wanted;
  }
  if (head.header("access-control-request-private-network") == "true") {
    response.headers["Access-Control-Allow-Private-Network"] = "true";
  }
  response.headers["Access-Control-Max-Age"] = "600";
  return response;
}

// Keys are sent by the page's own code: no cookie and no certificate of the browser's, so
// Access-Control-Allow-Credentials is never said.
void SitePolicy::mark(const RequestHead& head, std::map<std::string, std::string>& headers) const {
  if (options_.cors_origins.empty()) return;
  headers["Vary"] = "Origin";
  const std::string origin = head.header("origin");
  if (origin.empty() || !is_allowed_origin(origin)) return;
  headers["Access-Control-Allow-Origin"] = contains(options_.cors_origins, "*") ? "*" : origin;
  headers["Access-Control-Expose-Headers"] = kExposed;
}

}  // namespace tristill::http
