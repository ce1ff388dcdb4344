// Request, Response and StreamWriter: what a route sees of HTTP. Plain data; knows no route and
// no library of sockets.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

namespace tristill::http {

struct Request {
  std::string method;
  std::string path;
  std::string route;  // the pattern that took it, empty when none did: "/jobs/{id}"
  std::map<std::string, std::string> path_params;  // "/jobs/{id}" -> {"id", "ftjob-..."}
  std::map<std::string, std::string> query;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;
  std::string request_id;
  std::string key_id;  // of the API key that was sent: its public name; empty when none is needed
  // True once the client has closed its socket. Cheap; callable from the handler's thread only.
  std::function<bool()> client_gone;
  // Calls wake, from another thread, when the client closes its socket, as long as the returned
  // object lives. Not set where there is no socket.
  std::function<std::shared_ptr<void>(std::function<void()> wake)> watch_client;
};

// Writes a body piece by piece; every write goes to the socket at once.
class StreamWriter {
 public:
  virtual ~StreamWriter() = default;
  // False when the client is gone: stop producing.
  [[nodiscard]] virtual bool write(std::string_view bytes) = 0;
  virtual bool client_gone() const = 0;
};

struct Response {
  int status = 200;
  std::string content_type = "application/json";
  std::map<std::string, std::string> headers;
  std::string body;
  // When set, body is ignored and the answer is chunked: called once, on the handler's thread.
  std::function<void(StreamWriter&)> stream;
};

using Handler = std::function<Response(const Request&)>;

}  // namespace tristill::http
