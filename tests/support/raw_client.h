// RawClient: a TCP client that sends exactly the bytes it is told, and reads answers. One thread.
#pragma once

#include <arpa/inet.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <string_view>

#include "base/check.h"
#include "server/http/request_head.h"

namespace tristill::tests {

struct RawAnswer {
  int status = 0;     // 0: the server closed without an answer
  std::string head;   // with the status line
  std::string body;   // chunks joined
  bool has(std::string_view text) const {
    return http::lower_case(head).find(http::lower_case(text)) != std::string::npos;
  }
};

class RawClient {
 public:
  explicit RawClient(int port) : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connect(address);
  }
  explicit RawClient(const std::string& unix_path) : socket_(::socket(AF_UNIX, SOCK_STREAM, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    CHECK(unix_path.size() < sizeof address.sun_path);
    unix_path.copy(address.sun_path, unix_path.size());
    connect(address);
  }
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;
  ~RawClient() { close(); }

  // False when the server takes no more.
  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t n = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0) return false;
      bytes.remove_prefix(static_cast<size_t>(n));
    }
    return true;
  }
  int socket() const { return socket_; }
  void half_close() { ::shutdown(socket_, SHUT_WR); }
  void close() {
    if (socket_ >= 0) ::close(socket_);
    socket_ = -1;
  }

  // One answer: by its length, by its chunks, or to the end.
  RawAnswer read_answer() {
    RawAnswer answer;
    size_t end = std::string::npos;
    while ((end = input_.find("\r\n\r\n")) == std::string::npos) {
      if (!receive()) return answer;
    }
    answer.head = take(end + 4);
    answer.status = std::atoi(answer.head.substr(9, 3).c_str());
    if (answer.has("transfer-encoding: chunked")) {
      while (read_chunk(answer.body)) {}
    } else if (const size_t at = http::lower_case(answer.head).find("content-length: ");
               at != std::string::npos) {
      answer.body = take_exactly(std::strtoul(answer.head.c_str() + at + 16, nullptr, 10));
    }
    return answer;
  }
  // One chunk's data is appended; false after the last one or at the end.
  bool read_chunk(std::string& to) {
    size_t end = std::string::npos;
    while ((end = input_.find("\r\n")) == std::string::npos) {
      if (!receive()) return false;
    }
    const size_t size = std::strtoul(take(end + 2).c_str(), nullptr, 16);
    to += take_exactly(size);
    take_exactly(2);
    return size > 0;
  }
  // Whether the server has closed the connection and left nothing to read.
  bool is_at_end() { return input_.empty() && !receive(); }

  RawAnswer ask(std::string_view request) {
    send(request);
    return read_answer();
  }

 private:
  template <class Address>
  void connect(const Address& address) {
    const timeval patience{60, 0};  // ends a broken test
    ::setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    ::setsockopt(socket_, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    CHECK(::connect(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  }
  bool receive() {
    char part[65536];
    const ssize_t n = ::recv(socket_, part, sizeof part, 0);
    if (n > 0) input_.append(part, static_cast<size_t>(n));
    return n > 0;
  }
  std::string take(size_t n) {
    std::string taken = input_.substr(0, n);
    input_.erase(0, n);
    return taken;
  }
  std::string take_exactly(size_t n) {
    while (input_.size() < n && receive()) {}
    return take(n);
  }

  int socket_;
  std::string input_;
};

}  // namespace tristill::tests
