// Connection: one client socket under cpp-httplib. Reads and checks a whole request before the
// library sees a byte of it, so that limits on sizes and times hold, framing is unambiguous and a
// client that leaves is noticed. One thread, but for interrupt() and abort().
#pragma once

#include <httplib.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "server/http/message.h"
#include "server/http/request_head.h"
#include "server/http/tls.h"
#include "server/http/transport.h"

namespace tristill::http {

struct Limits {
  size_t head_bytes = 32 << 10;
  size_t headers = 100;
  size_t body_bytes = 64 << 20;  // as sent, and as unpacked
  std::chrono::milliseconds handshake_time{10000};  // of TLS, from the connection on
  std::chrono::milliseconds head_time{10000};   // from its first byte
  std::chrono::milliseconds body_time{30000};  // and what body_rate allows for the bytes that came
  size_t body_rate = 4096;  // least bytes a second
  std::chrono::milliseconds write_time{30000};  // without progress
  std::chrono::milliseconds idle_time{60000};  // between requests
  std::chrono::milliseconds linger_time{5000};  // for a refused client to read why
};

class Connection final : public httplib::Stream {
 public:
  // tls: null for bytes in the clear.
  Connection(int socket, const Limits& limits, const Tls* tls = nullptr);

  enum class Arrival {
    request,  // a whole request is ready for the library
    closed,  // the client is gone, idle for too long, or interrupted
    refused,  // answered here with an error; close the connection
  };
  // Judges a request by its head, before its body is read: an answer refuses it.
  using Gate = std::function<std::optional<Response>(const RequestHead&)>;

  // Waits for the next request, pipelined ones included.
  Arrival await_request(const std::atomic<bool>& stopping, const Gate& gate);

  // Of the request that await_request saw last.
  const RequestHead& head() const { return head_; }
  const std::string& request_id() const { return request_id_; }
  int refused_status() const { return refused_status_; }

  // Answers with an error without reading anything.
  void turn_away(const Response& response);
  bool client_gone() const;
  // Sends what was written; false when the client is gone.
  bool flush();

  // Any thread. Ends waiting for the client, but no answer that is being given.
  void interrupt();
  // Any thread. Ends everything.
  void abort();

  bool is_readable() const override { return position_ < ready_.size(); }
  bool is_writable() const override { return !failed_ && !client_gone(); }
  ssize_t read(char* to, size_t size) override;
  ssize_t write(const char* from, size_t size) override;
  void get_remote_ip_and_port(std::string& ip, int& port) const override;
  void get_local_ip_and_port(std::string& ip, int& port) const override;
  socket_t socket() const override { return socket_; }

 private:
  using Time = std::chrono::steady_clock::time_point;
  enum class Received { bytes, nothing, end };

  Received receive(Time until);
  bool wait(short events, Time until) const;
  std::optional<Arrival> open();
  Arrival receive_request(const Gate& gate);
  std::optional<Arrival> receive_head();
  Arrival receive_body();
  Arrival take_chunks();
  std::optional<Arrival> need(size_t bytes);
  Arrival take_body(std::string_view body);
  void present(std::string_view body);
  Arrival refuse(int status, std::string_view message);
  Arrival refuse(const Response& response);
  void linger();

  const int socket_;
  const Limits& limits_;
  std::unique_ptr<Transport> transport_;
  bool opened_;
  std::atomic<bool> reading_{false};
  RequestHead head_;
  std::string request_id_;
  int refused_status_ = 0;
  std::string input_;  // received, not yet taken
  Time body_started_;
  size_t body_received_ = 0;
  std::string ready_;  // what the library reads: the checked head and the plain body
  size_t position_ = 0;
  std::string output_;  // written by the library, not yet sent
  bool failed_ = false;
  bool ended_ = false;  // the client has closed its sending side
};

}  // namespace tristill::http
