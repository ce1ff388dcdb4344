// A listening socket: TCP, a Unix socket, or one that a supervisor of services opened and handed
// down (LISTEN_FDS of sd_listen_fds(3)). One owner; everything may be read from any thread.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "base/result.h"

namespace tristill::http {

class ListeningSocket {
 public:
  // host is a name, an address, or unix:PATH; port 0 takes any free one. unix_mode: who may connect
  // to PATH, as of chmod. A socket file that nobody listens on is replaced. Errors: unavailable or
  // invalid_argument, param "port" or "host", naming the remedy.
  static Result<ListeningSocket> open(const std::string& host, int port, unsigned unix_mode = 0600);
  // The one that was handed down to this process; none when there is none. Once: the environment
  // variables are taken away. Errors: invalid_argument, param "LISTEN_FDS".
  static Result<std::optional<ListeningSocket>> inherited();

  ListeningSocket(ListeningSocket&& other) noexcept;
  ListeningSocket& operator=(ListeningSocket&&) = delete;
  // Removes the socket file that it made, unless another has taken its place.
  ~ListeningSocket();

  int fd() const { return fd_; }
  int port() const;  // 0 for a Unix socket
  // Whether only programs of this machine can connect, and whether it is a Unix socket.
  bool is_local() const;
  bool is_unix() const;
  // "127.0.0.1:8080", "[::1]:8080" or "unix:/run/tristill.sock".
  std::string address() const;

  // The next client's socket, or -1 once close() was called.
  int accept() const;
  // Ends accept(); clients are refused from now on, unless the socket was handed down: then they
  // wait for whoever takes it next. Any thread.
  void close() const;

 private:
  // Which file a path named when it was made.
  struct Made {
    std::string path;
    dev_t device = 0;
    ino_t inode = 0;
  };

  ListeningSocket(int fd, bool inherited);
  static Result<ListeningSocket> open_unix(const std::string& path, unsigned mode);

  int fd_;
  int closing_;  // an eventfd: readable once close() was called
  bool inherited_;
  Made made_;
};

}  // namespace tristill::http
