#include "server/http/transport.h"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>

namespace tristill::http {

Transport::Outcome PlainTransport::receive(char* to, size_t size) {
  ssize_t n = 0;
  do n = ::recv(socket_, to, size, MSG_DONTWAIT);
  while (n < 0 && errno == EINTR);
  if (n > 0) return {Outcome::Kind::done, static_cast<size_t>(n)};
  if (n < 0 && errno == EAGAIN) return {Outcome::Kind::again, 0, POLLIN};
  return {Outcome::Kind::ended};
}

Transport::Outcome PlainTransport::send(const char* from, size_t size) {
  ssize_t n = 0;
  do n = ::send(socket_, from, size, MSG_NOSIGNAL | MSG_DONTWAIT);
  while (n < 0 && errno == EINTR);
  if (n > 0) return {Outcome::Kind::done, static_cast<size_t>(n)};
  if (n < 0 && errno == EAGAIN) return {Outcome::Kind::again, 0, POLLOUT};
  return {Outcome::Kind::ended};
}

void PlainTransport::end_sending() { ::shutdown(socket_, SHUT_WR); }

}  // namespace tristill::http
