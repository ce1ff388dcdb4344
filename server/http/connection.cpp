#include "server/http/connection.h"

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "server/http/error.h"
#include "server/http/gzip.h"
#include "server/http/request_id.h"

namespace tristill::http {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;
constexpr size_t kFlushAt = 64 << 10;
constexpr size_t kMaxChunkLine = 128;

int wait_ms(Clock::time_point until) {
  const auto left = std::chrono::ceil<milliseconds>(until - Clock::now()).count();
  return static_cast<int>(std::clamp<int64_t>(left, 0, 1 << 30));
}

}  // namespace

Connection::Connection(int socket, const Limits& limits, const Tls* tls)
    : socket_(socket),
      limits_(limits),
      transport_(tls == nullptr ? std::make_unique<PlainTransport>(socket) : tls->accept(socket)),
      opened_(tls == nullptr) {}

bool Connection::wait(short events, Time until) const {
  pollfd poll_for{socket_, events, 0};
  const int ready = ::poll(&poll_for, 1, wait_ms(until));
  return ready > 0 || (ready < 0 && errno == EINTR);
}

Connection::Received Connection::receive(Time until) {
  for (;;) {
    char part[16384];
    const auto outcome = transport_->receive(part, sizeof part);
    if (outcome.kind == Transport::Outcome::Kind::done) {
      input_.append(part, outcome.bytes);
      return Received::bytes;
    }
    if (outcome.kind == Transport::Outcome::Kind::ended) break;
    // Bytes that never become a record of TLS must not hold off the end.
    if (Clock::now() >= until || !wait(outcome.events, until)) return Received::nothing;
  }
  ended_ = true;
  return Received::end;
}

// The handshake, where there is one.
std::optional<Connection::Arrival> Connection::open() {
  if (opened_) return std::nullopt;
  const Time until = Clock::now() + limits_.handshake_time;
  if (!wait(POLLIN, until)) return Arrival::closed;
  char first = 0;
  if (::recv(socket_, &first, 1, MSG_PEEK | MSG_DONTWAIT) == 1 && first >= 'A' && first <= 'Z') {
    transport_ = std::make_unique<PlainTransport>(socket_);
    opened_ = true;
    return refuse(400, "this port speaks HTTPS; begin the address with https://");
  }
  for (;;) {
    const auto outcome = transport_->open();
    opened_ = outcome.kind == Transport::Outcome::Kind::done;
    if (opened_) return std::nullopt;
    if (outcome.kind == Transport::Outcome::Kind::ended) return Arrival::closed;
    if (Clock::now() >= until || !wait(outcome.events, until)) return Arrival::closed;
  }
}

Connection::Arrival Connection::await_request(const std::atomic<bool>& stopping, const Gate& gate) {
  // In this order: whoever stops sets the flag first and interrupts those who read second.
  reading_ = true;
  const Arrival arrival = stopping ? Arrival::closed : receive_request(gate);
  reading_ = false;
  return arrival;
}

Connection::Arrival Connection::receive_request(const Gate& gate) {
  head_ = {};
  request_id_.clear();
  if (auto failed = open()) return *failed;
  if (auto failed = receive_head()) return *failed;
  request_id_ = request_id_for(head_.header("x-request-id"));
  if (const auto refusal = gate(head_)) return refuse(*refusal);
  return receive_body();
}

std::optional<Connection::Arrival> Connection::receive_head() {
  if (input_.empty() && receive(Clock::now() + limits_.idle_time) != Received::bytes) {
    return Arrival::closed;
  }
  const Time until = Clock::now() + limits_.head_time;
  size_t searched = 0;
  size_t skipped = 0;
  size_t end = std::string::npos;
  for (;;) {
    if (searched == 0) {  // RFC 9112, section 2.2: empty lines before a request are skipped
      const size_t empty = std::min(input_.find_first_not_of("\r\n"), input_.size());
      input_.erase(0, empty);
      skipped += empty;
    }
    end = input_.find("\r\n\r\n", searched);
    if (end != std::string::npos) break;
    if (skipped + input_.size() > limits_.head_bytes) {
      return refuse(431, "the headers are too large");
    }
    searched = input_.size() < 3 ? 0 : input_.size() - 3;
    const Received received = receive(until);
    if (received == Received::end) return Arrival::closed;
    if (received == Received::nothing) return refuse(408, "the headers did not arrive in time");
  }
  const size_t size = end + 4;
  if (size > limits_.head_bytes) return refuse(431, "the headers are too large");
  auto parsed = parse_request_head(std::string_view(input_).substr(0, size), limits_.headers);
  input_.erase(0, size);
  if (const auto* refusal = std::get_if<Refusal>(&parsed)) {
    return refuse(refusal->status, refusal->message);
  }
  head_ = std::get<RequestHead>(std::move(parsed));
  return std::nullopt;
}

Connection::Arrival Connection::receive_body() {
  body_started_ = Clock::now();
  body_received_ = input_.size();
  if (head_.content_length > limits_.body_bytes) {
    return refuse(413, "the body is larger than " + std::to_string(limits_.body_bytes) + " bytes");
  }
  if (head_.expects_continue && head_.has_body() && input_.empty()) {
    output_ += "HTTP/1.1 100 Continue\r\n\r\n";
    flush();
  }
  if (head_.chunked) return take_chunks();
  if (auto failed = need(head_.content_length)) return *failed;
  const Arrival arrival = take_body(std::string_view(input_).substr(0, head_.content_length));
  if (arrival == Arrival::request) input_.erase(0, head_.content_length);
  return arrival;
}

// Receives until input_ has that many bytes; what came instead, when it does not.
std::optional<Connection::Arrival> Connection::need(size_t bytes) {
  while (input_.size() < bytes) {
    const milliseconds earned(body_received_ * 1000 / limits_.body_rate);
    const size_t before = input_.size();
    const Received received = receive(body_started_ + limits_.body_time + earned);
    if (received == Received::end) return Arrival::closed;
    if (received == Received::nothing) return refuse(408, "the body did not arrive in time");
    body_received_ += input_.size() - before;
  }
  return std::nullopt;
}

// RFC 9112, section 7.1. Extensions are dropped, trailers refused.
Connection::Arrival Connection::take_chunks() {
  std::string body;
  size_t at = 0;  // what is before is taken
  for (;;) {
    size_t end = input_.find("\r\n", at);
    while (end == std::string::npos && input_.size() - at <= kMaxChunkLine) {
      input_.erase(0, at);
      at = 0;
      if (auto failed = need(input_.size() + 1)) return *failed;
      end = input_.find("\r\n");
    }
    if (end == std::string::npos || end - at > kMaxChunkLine) {
      return refuse(400, "the size of a chunk is malformed");
    }
    const std::string_view line = std::string_view(input_).substr(at, end - at);
    const auto size = parse_digits(trimmed(line.substr(0, line.find(';'))), 16);
    if (!size) return refuse(400, "the size of a chunk is malformed");
    if (*size > limits_.body_bytes - body.size()) {
      return refuse(413,
                    "the body is larger than " + std::to_string(limits_.body_bytes) + " bytes");
    }
    at = end + 2;
    if (auto failed = need(at + *size + 2)) return *failed;
    if (input_.compare(at + *size, 2, "\r\n") != 0) {
      return refuse(400, "the end of a chunk is malformed");
    }
    body.append(input_, at, *size);
    at += *size + 2;
    if (*size == 0) break;
  }
  input_.erase(0, at);
  return take_body(body);
}

Connection::Arrival Connection::take_body(std::string_view body) {
  if (!head_.gzipped || !head_.has_body()) {
    present(body);
    return Arrival::request;
  }
  const auto plain = gunzip(body, limits_.body_bytes);
  if (!plain) {
    const bool too_large = plain.error().code == ErrorCode::resource_exhausted;
    return refuse(too_large ? 413 : 400, plain.error().message);
  }
  head_.headers.erase("content-encoding");
  present(*plain);
  return Arrival::request;
}

// The library sees one plain form of every request, whatever the client sent.
void Connection::present(std::string_view body) {
  ready_ = head_.method + " " + head_.target + " " + head_.version +
           "\r\nconnection: " + (head_.keep_alive ? "Keep-Alive" : "close") +
           "\r\ncontent-length: " + std::to_string(body.size()) + "\r\n\r\n";
  ready_ += body;
  position_ = 0;
}

Connection::Arrival Connection::refuse(int status, std::string_view message) {
  return refuse(error_response(status, "", message, "", ""));
}

Connection::Arrival Connection::refuse(const Response& response) {
  turn_away(response);
  linger();
  return Arrival::refused;
}

void Connection::turn_away(const Response& response) {
  refused_status_ = response.status;
  if (request_id_.empty()) request_id_ = request_id_for("");
  output_ += "HTTP/1.1 " + std::to_string(response.status) + " ";
  output_.append(reason_of(response.status));
  output_ += "\r\nContent-Type: " + response.content_type + "\r\nx-request-id: " + request_id_ +
             "\r\nContent-Length: " + std::to_string(response.body.size()) +
             "\r\nConnection: close\r\n";
  for (const auto& [name, value] : response.headers) output_ += name + ": " + value + "\r\n";
  output_ += "\r\n";
  if (head_.method != "HEAD") output_ += response.body;
  flush();
  transport_->end_sending();
}

// Reads and drops what the client still sends: closing before would make the system answer with a
// reset, and the client would never see why it was refused.
void Connection::linger() {
  const Time until = Clock::now() + limits_.linger_time;
  do {
    input_.clear();
  } while (receive(until) == Received::bytes && Clock::now() < until);
}

void Connection::interrupt() {
  if (reading_) ::shutdown(socket_, SHUT_RD);
}

void Connection::abort() { ::shutdown(socket_, SHUT_RDWR); }

bool Connection::client_gone() const {
  if (failed_ || ended_) return true;
  pollfd poll_for{socket_, POLLRDHUP, 0};
  if (::poll(&poll_for, 1, 0) <= 0) return false;
  return (poll_for.revents & (POLLERR | POLLHUP | POLLRDHUP | POLLNVAL)) != 0;
}

ssize_t Connection::read(char* to, size_t size) {
  const size_t n = std::min(size, ready_.size() - position_);
  std::copy_n(ready_.data() + position_, n, to);
  position_ += n;
  return static_cast<ssize_t>(n);
}

ssize_t Connection::write(const char* from, size_t size) {
  output_.append(from, size);
  if (output_.size() >= kFlushAt && !flush()) return -1;
  return failed_ ? -1 : static_cast<ssize_t>(size);
}

bool Connection::flush() {
  size_t sent = 0;
  while (sent < output_.size() && !failed_) {
    const auto outcome = transport_->send(output_.data() + sent, output_.size() - sent);
    sent += outcome.bytes;
    if (outcome.kind == Transport::Outcome::Kind::again) {
      failed_ = !wait(outcome.events, Clock::now() + limits_.write_time);
    } else if (outcome.kind == Transport::Outcome::Kind::ended) {
      failed_ = true;
    }
  }
  output_.clear();
  return !failed_;
}

namespace {

void describe(const sockaddr_storage& address, std::string& ip, int& port) {
  char text[INET6_ADDRSTRLEN] = "";
  if (address.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
    ::inet_ntop(AF_INET, &v4.sin_addr, text, sizeof text);
    port = ntohs(v4.sin_port);
  } else if (address.ss_family == AF_INET6) {
    const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address);
    ::inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof text);
    port = ntohs(v6.sin6_port);
  }
  ip = text;
}

}  // namespace

void Connection::get_remote_ip_and_port(std::string& ip, int& port) const {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (::getpeername(socket_, reinterpret_cast<sockaddr*>(&address), &size) == 0) {
    describe(address, ip, port);
  }
}

void Connection::get_local_ip_and_port(std::string& ip, int& port) const {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (::getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size) == 0) {
    describe(address, ip, port);
  }
}

}  // namespace tristill::http
