#include "server/http/socket.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>

namespace tristill::http {
namespace {

constexpr int kBacklog = 1024;
constexpr int kPauseMs = 50;  // before the next attempt when descriptors or memory are short

int open_on(const addrinfo& address) {
  const int fd = ::socket(address.ai_family, address.ai_socktype | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  const int yes = 1;
  // Not SO_REUSEPORT: two daemons must not share a port unnoticed.
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  if (::bind(fd, address.ai_addr, address.ai_addrlen) == 0 && ::listen(fd, kBacklog) == 0)
    return fd;
  const int reason = errno;
  ::close(fd);
  errno = reason;
  return -1;
}

int port_of(int fd) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) return -1;
  return address.ss_family == AF_INET6
             ? ntohs(reinterpret_cast<const sockaddr_in6&>(address).sin6_port)
             : ntohs(reinterpret_cast<const sockaddr_in&>(address).sin_port);
}

std::string remedy(int reason) {
  if (reason == EACCES) return "; give a port from 1024 on with --port";
  if (reason == EADDRNOTAVAIL) return "; give an address of this machine with --host";
  return "; stop what uses the port, or give another with --port (0: any free one)";
}

}  // namespace

Result<ListeningSocket> ListeningSocket::open(const std::string& host, int port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int failure = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found);
  if (failure != 0) {
    return Error{ErrorCode::unavailable,
                 "cannot listen on host \"" + host + "\": " + ::gai_strerror(failure) +
                     "; give an address of this machine with --host",
                 "host"};
  }
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> addresses(found, &::freeaddrinfo);
  int reason = 0;
  for (const addrinfo* address = found; address != nullptr; address = address->ai_next) {
    const int fd = open_on(*address);
    if (fd >= 0) return ListeningSocket(fd, port_of(fd));
    reason = errno;
  }
  return Error{ErrorCode::unavailable,
               "cannot listen on " + host + " port " + std::to_string(port) + ": " +
                   std::strerror(reason) + remedy(reason),
               "port"};
}

ListeningSocket::ListeningSocket(ListeningSocket&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), port_(other.port_) {}

ListeningSocket::~ListeningSocket() {
  if (fd_ >= 0) ::close(fd_);
}

int ListeningSocket::accept() const {
  for (;;) {
    const int fd = ::accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd >= 0) {
      const int yes = 1;
      ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
      return fd;
    }
    if (errno == EINVAL || errno == EBADF) return -1;  // close() was called
    // Clients that were gone already, and networks that fail, are no reason to stop.
    if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
      ::poll(nullptr, 0, kPauseMs);
    }
  }
}

void ListeningSocket::close() const { ::shutdown(fd_, SHUT_RDWR); }

}  // namespace tristill::http
