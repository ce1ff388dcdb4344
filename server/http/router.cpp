#include "server/http/router.h"

#include <algorithm>
#include <optional>
#include <set>

#include "base/check.h"
#include "server/http/error.h"

namespace tristill::http {
namespace {

std::vector<std::string> split(std::string_view path) {
  std::vector<std::string> segments;
  size_t from = path.starts_with('/') ? 1 : 0;
  while (from <= path.size()) {
    const size_t slash = std::min(path.find('/', from), path.size());
    segments.emplace_back(path.substr(from, slash - from));
    from = slash + 1;
  }
  return segments;
}

bool is_parameter(const std::string& segment) {
  return segment.size() > 2 && segment.front() == '{' && segment.back() == '}';
}

bool takes_rest(const std::string& segment) { return segment.ends_with("...}"); }

using Parameters = std::map<std::string, std::string>;

std::optional<Parameters> match(const std::vector<std::string>& pattern,
                                const std::vector<std::string>& path) {
  Parameters found;
  for (size_t i = 0; i < pattern.size(); ++i) {
    if (i >= path.size()) return std::nullopt;
    const std::string& segment = pattern[i];
    if (takes_rest(segment)) {
      std::string rest = path[i];
      for (size_t j = i + 1; j < path.size(); ++j) rest += "/" + path[j];
      if (rest.empty()) return std::nullopt;
      found[segment.substr(1, segment.size() - 5)] = rest;
      return found;
    }
    if (!is_parameter(segment)) {
      if (segment != path[i]) return std::nullopt;
      continue;
    }
    if (path[i].empty()) return std::nullopt;
    found[segment.substr(1, segment.size() - 2)] = path[i];
  }
  if (path.size() != pattern.size()) return std::nullopt;
  return found;
}

}  // namespace

void Router::add(std::string_view method, std::string_view pattern, Handler handler) {
  auto segments = split(pattern);
  for (const Route& route : routes_) CHECK(route.method != method || route.segments != segments);
  routes_.push_back(
      {std::string(method), std::string(pattern), std::move(segments), std::move(handler)});
}

std::vector<Router::Name> Router::routes() const {
  std::vector<Name> names;
  for (const Route& route : routes_) names.push_back({route.method, route.pattern});
  return names;
}

Response Router::route(Request& request) const {
  const auto path = split(request.path);
  std::set<std::string> allowed;
  for (const Route& route : routes_) {
    auto parameters = match(route.segments, path);
    if (!parameters) continue;
    const bool same =
        route.method == request.method || (route.method == "GET" && request.method == "HEAD");
    if (same) {
      request.route = route.pattern;
      request.path_params = std::move(*parameters);
      return route.handler(request);
    }
    allowed.insert(route.method);
  }
  if (allowed.empty()) {
    return error_response(
        404, "",
        "no route " + request.method + " " + request.path + "; GET /openapi.yaml lists them", "",
        "unknown_route");
  }
  std::string methods;
  for (const std::string& method : allowed) methods += (methods.empty() ? "" : ", ") + method;
  Response response = error_response(
      405, "", request.path + " does not take " + request.method + "; accepted is " + methods, "",
      "");
  response.headers["Allow"] = methods;
  return response;
}

}  // namespace tristill::http
