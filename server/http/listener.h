// Listener: a socket, a thread for each busy connection and a router. Construct, bind, serve on
// one thread; stop from any other. Knows no route.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/result.h"
#include "server/http/connection.h"
#include "server/http/router.h"

namespace tristill::http {

struct ListenerOptions {
  std::string host = "127.0.0.1";
  int port = 8080;  // 0: any free one
  std::string api_key_sha256;  // hex; empty: no key is asked for
  Limits limits;
  size_t max_connections = 2000;
  std::chrono::milliseconds stop_grace{5000};  // for answers that are being given when it stops
};

// What one answered request looked like, for metrics and the access log.
struct Exchange {
  std::string method, path;  // empty when the request was not understood
  std::string route;         // the route's pattern; empty when none took the request
  int status = 0;
  double seconds = 0;
  std::string request_id;
};

class Listener {
 public:
  // observe is called on the connection's thread after each answer.
  Listener(const Router& router, ListenerOptions options,
           std::function<void(const Exchange&)> observe);
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  // The port that is listened on. Errors: unavailable, naming host, port and remedy.
  Result<int> bind();
  // Answers until stop(); returns when every connection has ended.
  void serve();
  // Takes no new requests, waits stop_grace for the answers being given, then cuts them off. Also
  // before serve(). Any thread.
  void stop();

 private:
  class Server;
  std::unique_ptr<Server> server_;
};

}  // namespace tristill::http
