// Api: the daemon's HTTP routes as calls, over libcurl. One thread. Knows URLs, the key, JSON and
// how an HTTP error becomes a Failure; knows nothing of what the answers mean.
#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "client/failure.h"
#include "client/sse.h"

namespace tristill::client {

using Json = nlohmann::json;

struct ApiOptions {
  // http or https with an optional path prefix, or unix:/PATH of a socket
  std::string server = "http://127.0.0.1:8080";
  std::string api_key;  // empty: none is sent
  std::string ca_file;  // certificates (PEM) that https trusts; empty: the system's
  long timeout_ms = 0;  // of a whole call; 0: none
};

struct StreamRequest {
  std::string method = "GET";
  std::string path;
  std::string body;           // JSON, with POST
  std::string last_event_id;  // sent when not empty
};

enum class StreamEnd {
  finished,  // the daemon ended the answer
  stopped,   // the reader said enough, or Ctrl-C
  broken,    // no connection, or it broke
};

class Api {
 public:
  // Failure: usage when the server's URL is not one, not found when the CA file is not there.
  explicit Api(ApiOptions options);
  ~Api();
  Api(const Api&) = delete;
  Api& operator=(const Api&) = delete;

  // The answer's JSON. Failure: not reachable (unavailable), an HTTP error (mapped by its
  // status, worded by the daemon), not JSON (unavailable).
  Json get(const std::string& path);
  Json post(const std::string& path, const Json& body);
  Json post_bytes(const std::string& path, std::string_view type, std::string_view bytes);
  Json remove(const std::string& path);
  // The answer's bytes, whatever they are.
  std::string get_text(const std::string& path);

  // Posts JSON and reads an answer of JSON Lines: on_line takes each line that is not blank.
  // Failure as above, also when the connection breaks.
  void post_lines(const std::string& path, const Json& body,
                  const std::function<void(const Json& line)>& on_line);

  // Reads an event stream. HTTP errors are a Failure as above; a missing or broken connection is
  // an outcome, because watching goes on after the daemon's restart.
  StreamEnd stream(const StreamRequest& request,
                   const std::function<bool(const SseEvent&)>& on_event);

  // Why the last stream was broken, for a message.
  const std::string& broken_reason() const;
  const std::string& server() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// For one path segment or query value.
std::string percent_encode(std::string_view text);

// The exit code that a status stands for.
ExitCode exit_of_status(long status);

// An HTTP error's body as a Failure; the body may be anything.
Failure failure_of(long status, std::string_view body);

}  // namespace tristill::client
