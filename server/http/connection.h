// Connection: one client socket under cpp-httplib. Reads and checks a whole request before the
// library sees a byte of it, so that limits on sizes and times hold, framing is unambiguous
// (RFC 9112, section 6.3) and a client that leaves is noticed. One thread.
#pragma once

#include <httplib.h>

#include <chrono>
#include <string>

namespace tristill::http {

struct Limits {
  size_t head_bytes = 32 << 10;
  size_t headers = 100;
  size_t body_bytes = 64 << 20;
  std::chrono::milliseconds head_time{10000};   // from its first byte
  std::chrono::milliseconds body_time{30000};   // without progress
  std::chrono::milliseconds write_time{30000};  // without progress
  std::chrono::milliseconds idle_time{60000};   // between requests
};

class Connection final : public httplib::Stream {
 public:
  Connection(int socket, const Limits& limits) : socket_(socket), limits_(limits) {}

  enum class Arrival {
    request,  // a whole request is ready for the library
    closed,   // the client is gone or idle for too long
    refused,  // answered here with an error; close the connection
  };
  // Waits for the next request, pipelined ones included. stopping is polled while idle.
  Arrival await_request(const std::atomic<bool>& stopping);

  // The value of a header exactly as it was sent, empty when absent; name in lower case.
  std::string raw_header(std::string_view name) const;
  bool client_gone() const;
  bool flush();

  bool is_readable() const override { return position_ < ready_.size(); }
  bool is_writable() const override { return !failed_ && !client_gone(); }
  ssize_t read(char* to, size_t size) override;
  ssize_t write(const char* from, size_t size) override;
  void get_remote_ip_and_port(std::string& ip, int& port) const override;
  void get_local_ip_and_port(std::string& ip, int& port) const override;
  socket_t socket() const override { return socket_; }

 private:
  struct Head;
  bool receive(std::chrono::milliseconds wait);
  Arrival refuse(int status, std::string_view message);
  Arrival take_body(const Head& head);
  Arrival take_chunked(size_t from);
  bool need(size_t bytes);

  int socket_;
  const Limits& limits_;
  std::string input_;   // received, not yet taken
  std::string head_;    // of the current request, as sent
  std::string ready_;   // what the library reads: checked head and plain body
  size_t position_ = 0;
  std::string output_;  // written by the library, not yet sent
  bool failed_ = false;
  bool ended_ = false;  // the client has closed its sending side
};

}  // namespace tristill::http
