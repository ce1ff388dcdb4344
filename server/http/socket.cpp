#include "server/http/socket.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <utility>

#include "base/check.h"

namespace tristill::http {
namespace {

constexpr std::string_view kUnix = "unix:";
constexpr int kBacklog = 1024;
constexpr int kPauseMs = 50;  // before the next attempt when descriptors or memory are short

// Closes fd and keeps the reason that errno tells.
int given_up(int fd) {
  const int reason = errno;
  ::close(fd);
  errno = reason;
  return -1;
}

int open_on(const addrinfo& address) {
  const int fd = ::socket(address.ai_family, address.ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -1;
  const int yes = 1;
  // Not SO_REUSEPORT: two daemons must not share a port unnoticed.
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  if (::bind(fd, address.ai_addr, address.ai_addrlen) == 0 && ::listen(fd, kBacklog) == 0)
    return fd;
  return given_up(fd);
}

sockaddr_storage name_of(int fd) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) return {};
  return address;
}

std::optional<sockaddr_un> unix_address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) return std::nullopt;
  path.copy(address.sun_path, path.size());
  return address;
}

// Whether some program takes connections there.
bool is_listened_on(const sockaddr_un& address) {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return true;
  const int failed = ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address);
  const bool refused = failed != 0 && errno == ECONNREFUSED;
  ::close(fd);
  return !refused;
}

// Nobody can connect before listen(), and by then the file has its mode.
int open_on(const sockaddr_un& address, unsigned mode) {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -1;
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return given_up(fd);
  }
  if (::chmod(address.sun_path, mode) == 0 && ::listen(fd, kBacklog) == 0) return fd;
  const int failed = given_up(fd);
  const int reason = errno;
  ::unlink(address.sun_path);
  errno = reason;
  return failed;
}

std::string remedy(int reason) {
  if (reason == EACCES) return "; give a port from 1024 on with --port";
  if (reason == EADDRNOTAVAIL) return "; give an address of this machine with --host";
  return "; stop what uses the port, or give another with --port (0: any free one)";
}

}  // namespace

Result<ListeningSocket> ListeningSocket::open(const std::string& host, int port,
                                              unsigned unix_mode) {
  if (host.starts_with(kUnix)) return open_unix(host.substr(kUnix.size()), unix_mode);
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
    if (fd >= 0) return ListeningSocket(fd, /*inherited=*/false);
    reason = errno;
  }
  return Error{ErrorCode::unavailable,
               "cannot listen on " + host + " port " + std::to_string(port) + ": " +
                   std::strerror(reason) + remedy(reason),
               "port"};
}

Result<ListeningSocket> ListeningSocket::open_unix(const std::string& path, unsigned mode) {
  const auto address = unix_address(path);
  if (!address) {
    return Error{ErrorCode::invalid_argument,
                 "host " + std::string(kUnix) + path + ": accepted is a path of 1 to " +
                     std::to_string(sizeof(sockaddr_un::sun_path) - 1) + " bytes",
                 "host"};
  }
  struct stat there{};
  if (::lstat(path.c_str(), &there) == 0 && S_ISSOCK(there.st_mode) && !is_listened_on(*address)) {
    ::unlink(path.c_str());  // of a daemon that was killed
  }
  const int fd = open_on(*address, mode);
  if (fd < 0) {
    const bool taken = errno == EADDRINUSE;
    return Error{ErrorCode::unavailable,
                 "cannot listen on " + std::string(kUnix) + path + ": " + std::strerror(errno) +
                     (taken ? "; stop the program that listens there, or give another path"
                            : "; give a path in a folder that is there and may be written"),
                 "host"};
  }
  ListeningSocket socket(fd, /*inherited=*/false);
  if (::lstat(path.c_str(), &there) == 0) socket.made_ = {path, there.st_dev, there.st_ino};
  return socket;
}

Result<std::optional<ListeningSocket>> ListeningSocket::inherited() {
  constexpr int kFirst = 3;  // SD_LISTEN_FDS_START
  const char* pid = std::getenv("LISTEN_PID");
  const char* count = std::getenv("LISTEN_FDS");
  if (pid == nullptr || count == nullptr || std::to_string(::getpid()) != pid) {
    return std::optional<ListeningSocket>();
  }
  const std::string n = count;
  for (const char* name : {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}) ::unsetenv(name);
  int listens = 0, type = 0;
  socklen_t size = sizeof listens;
  const bool is_listening =
      ::getsockopt(kFirst, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0 && listens != 0 &&
      ::getsockopt(kFirst, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_STREAM;
  if (n != "1" || !is_listening) {
    return Error{ErrorCode::invalid_argument,
                 "LISTEN_FDS=" + n + ": accepted is one listening stream socket", "LISTEN_FDS"};
  }
  ::fcntl(kFirst, F_SETFD, FD_CLOEXEC);
  ::fcntl(kFirst, F_SETFL, ::fcntl(kFirst, F_GETFL) | O_NONBLOCK);
  return std::optional<ListeningSocket>(ListeningSocket(kFirst, /*inherited=*/true));
}

ListeningSocket::ListeningSocket(int fd, bool inherited)
    : fd_(fd), closing_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)), inherited_(inherited) {
  CHECK(closing_ >= 0);
}

ListeningSocket::ListeningSocket(ListeningSocket&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      closing_(std::exchange(other.closing_, -1)),
      inherited_(other.inherited_),
      made_(std::exchange(other.made_, {})) {}

ListeningSocket::~ListeningSocket() {
  if (fd_ >= 0) ::close(fd_);
  if (closing_ >= 0) ::close(closing_);
  struct stat there{};
  if (!made_.path.empty() && ::lstat(made_.path.c_str(), &there) == 0 &&
      there.st_dev == made_.device && there.st_ino == made_.inode) {
    ::unlink(made_.path.c_str());
  }
}

int ListeningSocket::port() const {
  const sockaddr_storage name = name_of(fd_);
  if (name.ss_family == AF_INET) return ntohs(reinterpret_cast<const sockaddr_in&>(name).sin_port);
  if (name.ss_family != AF_INET6) return 0;
  return ntohs(reinterpret_cast<const sockaddr_in6&>(name).sin6_port);
}

bool ListeningSocket::is_unix() const { return name_of(fd_).ss_family == AF_UNIX; }

bool ListeningSocket::is_local() const {
  const sockaddr_storage name = name_of(fd_);
  if (name.ss_family == AF_UNIX) return true;
  if (name.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(name);
    return (ntohl(v4.sin_addr.s_addr) >> 24) == IN_LOOPBACKNET;
  }
  if (name.ss_family != AF_INET6) return false;
  const in6_addr& v6 = reinterpret_cast<const sockaddr_in6&>(name).sin6_addr;
  return IN6_IS_ADDR_LOOPBACK(&v6) ||
         (IN6_IS_ADDR_V4MAPPED(&v6) && v6.s6_addr[12] == IN_LOOPBACKNET);
}

std::string ListeningSocket::address() const {
  const sockaddr_storage name = name_of(fd_);
  char text[INET6_ADDRSTRLEN] = "";
  if (name.ss_family == AF_UNIX) {
    return std::string(kUnix) + reinterpret_cast<const sockaddr_un&>(name).sun_path;
  }
  if (name.ss_family == AF_INET6) {
    ::inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6&>(name).sin6_addr, text,
                sizeof text);
    return "[" + std::string(text) + "]:" + std::to_string(port());
  }
  ::inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in&>(name).sin_addr, text, sizeof text);
  return std::string(text) + ":" + std::to_string(port());
}

int ListeningSocket::accept() const {
  for (;;) {
    pollfd wait_for[] = {{fd_, POLLIN, 0}, {closing_, POLLIN, 0}};
    ::poll(wait_for, 2, -1);
    if (wait_for[1].revents != 0) return -1;
    const int fd = ::accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd >= 0) {
      const int yes = 1;  // has no meaning, and fails, for a Unix socket
      ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
      return fd;
    }
    // Clients that were gone already, and networks that fail, are no reason to stop.
    if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
      ::poll(nullptr, 0, kPauseMs);
    }
  }
}

void ListeningSocket::close() const {
  const uint64_t one = 1;
  CHECK(::write(closing_, &one, sizeof one) == sizeof one);
  if (!inherited_) ::shutdown(fd_, SHUT_RDWR);
}

}  // namespace tristill::http
