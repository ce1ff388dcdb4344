// Router: method and path pattern -> handler. Filled before the server starts, then immutable:
// any thread. Unknown path: 404; known path, other method: 405 with Allow; both as JSON errors.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "server/http/message.h"

namespace tristill::http {

class Router {
 public:
  // pattern: literal segments and {name} segments, e.g. "/jobs/{id}/events". {name...} as the
  // last segment takes the rest of the path, slashes included. CHECKs against duplicates.
  void add(std::string_view method, std::string_view pattern, Handler handler);

  struct Name {
    std::string method, pattern;
  };
  // Every route, in the order of add().
  std::vector<Name> routes() const;

  // The handler's answer, or the 404 / 405 answer. request.route and path_params are filled in.
  Response route(Request& request) const;

 private:
  struct Route {
    std::string method;
    std::string pattern;
    std::vector<std::string> segments;
    Handler handler;
  };
  std::vector<Route> routes_;
};

}  // namespace tristill::http
