// Listener: a socket, a thread for each busy connection and a router. Construct, bind, serve on
// one thread; stop from any other. Knows no route.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "server/http/connection.h"
#include "server/http/router.h"
#include "server/http/site_policy.h"

namespace tristill::http {

// What somebody says of a request by its head alone, before its body is read.
struct Verdict {
  std::optional<Response> refusal;             // the body is never read
  std::string key_id;                          // of Request
  std::map<std::string, std::string> headers;  // for the answer, whatever it is
};
// Any connection's thread.
using Gate = std::function<Verdict(const RequestHead&)>;

struct ListenerOptions {
  std::string host = "127.0.0.1";  // or unix:PATH
  int port = 8080;                 // 0: any free one
  unsigned socket_mode = 0600;     // of a Unix socket, as of chmod
  TlsFiles tls;                    // none: plain HTTP
  SiteOptions sites;
  Gate gate;  // none: everybody may do everything
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
  std::string key_id;
};

class Listener {
 public:
  // observe is called on the connection's thread after each answer.
  Listener(const Router& router, ListenerOptions options,
           std::function<void(const Exchange&)> observe);
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  // The port that is listened on: of the socket that was handed down to this process, else of a new
  // one. Errors: unavailable, naming host, port and remedy; invalid_argument, naming the setting.
  Result<int> bind();
  // After bind(). "https://127.0.0.1:8080", "unix:/run/tristill.sock".
  std::string url() const;
  // After bind(). Whether only programs of this machine can connect.
  bool is_local() const;
  // Reads certificates and keys of TLS again, for the connections to come. On an error those from
  // before stay. Any thread, after bind().
  Result<void> reload();
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
