// Any bytes from a client's socket: what reaches the library is one plain request at a time, and
// every other request is answered with an error.
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>

#include "base/check.h"
#include "server/http/connection.h"

namespace {

using namespace tristill::http;

void check_presented(Connection& connection) {
  std::string text;
  char part[4096];
  for (ssize_t n = 0; (n = connection.read(part, sizeof part)) > 0;) {
    text.append(part, static_cast<size_t>(n));
  }
  const size_t end = text.find("\r\n\r\n");
  CHECK(end != std::string::npos);
  const auto parsed = parse_request_head(text.substr(0, text.find("\r\n") + 2) + "host: x\r\n" +
                                             text.substr(text.find("\r\n") + 2, end + 2),
                                         10);
  const auto* head = std::get_if<RequestHead>(&parsed);
  CHECK(head != nullptr && !head->chunked);
  CHECK(head->content_length == text.size() - end - 4);
  CHECK(head->method == connection.head().method && head->target == connection.head().target);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  int sockets[2];
  if (size > 65536 || ::socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) != 0) return 0;
  const ssize_t sent = ::send(sockets[0], data, size, MSG_NOSIGNAL);
  ::shutdown(sockets[0], SHUT_WR);
  const Limits limits{.head_bytes = 4096, .headers = 20, .body_bytes = 8192};
  const std::atomic<bool> stopping{false};
  {
    Connection connection(sockets[1], limits);
    const auto open_gate = [](const RequestHead&) { return std::optional<Response>(); };
    Connection::Arrival arrival;
    while ((arrival = connection.await_request(stopping, open_gate)) ==
           Connection::Arrival::request) {
      check_presented(connection);
    }
    if (arrival == Connection::Arrival::refused) {
      char answer[9];
      CHECK(::recv(sockets[0], answer, sizeof answer, 0) == 9);
      CHECK(std::string_view(answer, 9) == "HTTP/1.1 ");
    }
  }
  ::close(sockets[0]);
  ::close(sockets[1]);
  CHECK(sent == static_cast<ssize_t>(size));
  return 0;
}
