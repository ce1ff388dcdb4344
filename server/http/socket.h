// A listening TCP socket. One owner; port and file descriptor may be read from any thread.
#pragma once

#include <string>

#include "base/result.h"

namespace tristill::http {

class ListeningSocket {
 public:
  // port 0 takes any free one. Errors: unavailable, param "port" or "host", naming the remedy.
  static Result<ListeningSocket> open(const std::string& host, int port);
  ListeningSocket(ListeningSocket&& other) noexcept;
  ListeningSocket& operator=(ListeningSocket&&) = delete;
  ~ListeningSocket();

  int fd() const { return fd_; }
  int port() const { return port_; }

  // The next client's socket, or -1 once close() was called.
  int accept() const;
  // Ends accept(); clients are refused from now on. Any thread.
  void close() const;

 private:
  ListeningSocket(int fd, int port) : fd_(fd), port_(port) {}
  int fd_;
  int port_;
};

}  // namespace tristill::http
