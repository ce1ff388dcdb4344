// ServiceNotifier: what systemd wants to know of a service of Type=notify, as datagrams to the
// socket that NOTIFY_SOCKET names (sd_notify(3)); without that variable nothing is sent. Made
// before other threads start, then any thread.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace tristill::server {

class ServiceNotifier {
 public:
  // Takes the variables out of the environment: workers must not speak for the daemon.
  static ServiceNotifier from_environment();

  // Whether a service manager listens: it ends what the daemon leaves behind.
  bool is_heard() const { return !socket_.empty(); }

  // How often systemd wants alive() at least (WATCHDOG_USEC); nothing when it does not wait for it.
  std::optional<std::chrono::microseconds> watchdog() const { return watchdog_; }

  void ready() const { send("READY=1\nSTATUS=serving"); }
  // ready() says that it is over.
  void reloading() const;
  // patience: how long stopping may take.
  void stopping(std::chrono::microseconds patience) const;
  void alive() const { send("WATCHDOG=1"); }

 private:
  void send(std::string_view message) const;

  std::string socket_;  // a path, or a name behind '@'; empty: nobody listens
  std::optional<std::chrono::microseconds> watchdog_;
};

}  // namespace tristill::server
