#include "server/service_notifier.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include "base/log.h"

namespace tristill::server {
namespace {

std::string taken_from_environment(const char* name) {
  const char* value = std::getenv(name);
  std::string text = value == nullptr ? "" : value;
  ::unsetenv(name);
  return text;
}

std::optional<long long> parse_number(const std::string& text) {
  long long number = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool whole = failure == std::errc() && end == text.data() + text.size();
  return whole && !text.empty() ? std::optional(number) : std::nullopt;
}

long long monotonic_us() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000LL + now.tv_nsec / 1000;
}

}  // namespace

ServiceNotifier ServiceNotifier::from_environment() {
  ServiceNotifier made;
  made.socket_ = taken_from_environment("NOTIFY_SOCKET");
  const auto period = parse_number(taken_from_environment("WATCHDOG_USEC"));
  const auto pid = parse_number(taken_from_environment("WATCHDOG_PID"));
  const bool is_meant = !pid || *pid == ::getpid();
  if (period && *period > 0 && is_meant) made.watchdog_ = std::chrono::microseconds(*period);
  return made;
}

void ServiceNotifier::reloading() const {
  send("RELOADING=1\nMONOTONIC_USEC=" + std::to_string(monotonic_us()) + "\nSTATUS=reloading");
}

void ServiceNotifier::stopping(std::chrono::microseconds patience) const {
  send("STOPPING=1\nEXTEND_TIMEOUT_USEC=" + std::to_string(patience.count()) + "\nSTATUS=draining");
}

void ServiceNotifier::send(std::string_view message) const {
  if (socket_.empty()) return;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const bool fits = socket_.size() < sizeof(address.sun_path);
  const int fd = fits ? ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0) : -1;
  if (!fits) errno = ENAMETOOLONG;
  ssize_t sent = -1;
  if (fd >= 0) {
    std::memcpy(address.sun_path, socket_.data(), socket_.size());
    if (socket_[0] == '@') address.sun_path[0] = '\0';  // of the abstract namespace
    const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + socket_.size());
    sent = ::sendto(fd, message.data(), message.size(), MSG_NOSIGNAL,
                    reinterpret_cast<const sockaddr*>(&address), size);
  }
  const int reason = errno;
  if (fd >= 0) ::close(fd);
  if (sent < 0) log_warn("systemd not told", {{"socket", socket_}, {"reason", strerror(reason)}});
}

}  // namespace tristill::server
