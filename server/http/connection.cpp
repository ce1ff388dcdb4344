#include "server/http/connection.h"

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <optional>

#include "server/http/error.h"

namespace tristill::http {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;
constexpr size_t kFlushAt = 64 << 10;
constexpr milliseconds kIdleSlice{250};

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

bool is_token(std::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 ||
           std::string_view("!#$%&'*+-.^_`|~").find(static_cast<char>(c)) != std::string_view::npos;
  });
}

std::optional<size_t> parse_number(std::string_view text, int base) {
  size_t value = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (failure != std::errc() || end != text.data() + text.size() || text.empty())
    return std::nullopt;
  return value;
}

// Calls visit(name in lower case, value) for each header line; false when a line is malformed.
template <class Visit>
bool each_header(std::string_view head, const Visit& visit) {
  size_t at = head.find("\r\n");
  if (at == std::string_view::npos) return false;
  at += 2;
  while (at < head.size()) {
    const size_t end = head.find("\r\n", at);
    if (end == std::string_view::npos) return false;
    if (end == at) return true;
    const std::string_view line = head.substr(at, end - at);
    const size_t colon = line.find(':');
    if (colon == std::string_view::npos || !is_token(line.substr(0, colon))) return false;
    if (line.find_first_of(std::string_view("\r\n\0", 3)) != std::string_view::npos) return false;
    visit(lower(line.substr(0, colon)), trimmed(line.substr(colon + 1)));
    at = end + 2;
  }
  return false;
}

}  // namespace

// What the framing of a request depends on.
struct Connection::Head {
  size_t bytes = 0;  // with the empty line
  size_t headers = 0;
  bool well_formed = false;
  int content_lengths = 0;
  std::optional<size_t> content_length;
  bool has_transfer_encoding = false;
  bool chunked = false;
  bool has_content_encoding = false;
  bool expects_continue = false;

  explicit Head(std::string_view text) : bytes(text.size()) {
    well_formed = each_header(text, [&](const std::string& name, std::string_view value) {
      ++headers;
      if (name == "content-length") {
        ++content_lengths;
        content_length = parse_number(value, 10);
      } else if (name == "transfer-encoding") {
        has_transfer_encoding = true;
        chunked = lower(value) == "chunked";
      } else if (name == "content-encoding") {
        has_content_encoding = lower(value) != "identity";
      } else if (name == "expect") {
        expects_continue = lower(value) == "100-continue";
      }
    });
  }
};

bool Connection::receive(milliseconds wait) {
  pollfd poll_for{socket_, POLLIN, 0};
  const int ready = ::poll(&poll_for, 1, static_cast<int>(wait.count()));
  if (ready <= 0) return false;
  char part[16384];
  const ssize_t n = ::recv(socket_, part, sizeof part, 0);
  if (n <= 0) {
    ended_ = n == 0 || (errno != EAGAIN && errno != EINTR);
    return false;
  }
  input_.append(part, static_cast<size_t>(n));
  return true;
}

Connection::Arrival Connection::refuse(int status, std::string_view message) {
  const Response response = error_response(status, "", message, "", "");
  output_ += "HTTP/1.1 " + std::to_string(status) + " Refused" +
             "\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: " +
             std::to_string(response.body.size()) + "\r\n\r\n" + response.body;
  flush();
  return Arrival::refused;
}

Connection::Arrival Connection::await_request(const std::atomic<bool>& stopping) {
  const auto idle_until = Clock::now() + limits_.idle_time;
  while (input_.empty()) {
    if (ended_ || stopping || Clock::now() >= idle_until) return Arrival::closed;
    receive(kIdleSlice);
  }
  const auto head_until = Clock::now() + limits_.head_time;
  size_t end = std::string::npos;
  while ((end = input_.find("\r\n\r\n")) == std::string::npos) {
    if (input_.size() > limits_.head_bytes)
      return refuse(431, "the request's headers are too large");
    const auto left = std::chrono::duration_cast<milliseconds>(head_until - Clock::now());
    if (left.count() <= 0) return refuse(408, "the request's headers did not arrive in time");
    if (!receive(left) && ended_) return Arrival::closed;
  }
  head_ = input_.substr(0, end + 4);
  if (head_.size() > limits_.head_bytes) return refuse(431, "the request's headers are too large");
  const Head head(head_);
  if (!head.well_formed) return refuse(400, "the request's head is malformed");
  if (head.headers > limits_.headers) return refuse(431, "the request has too many headers");
  return take_body(head);
}

Connection::Arrival Connection::take_body(const Head& head) {
  const bool ambiguous = head.content_lengths > 1 ||
                         (head.content_lengths == 1 && head.has_transfer_encoding) ||
                         (head.content_lengths == 1 && !head.content_length) ||
                         (head.has_transfer_encoding && !head.chunked);
  if (ambiguous) return refuse(400, "the length of the request's body is ambiguous");
  if (head.has_content_encoding) return refuse(415, "send the body without Content-Encoding");
  const size_t length = head.content_length.value_or(0);
  if (length > limits_.body_bytes) {
    return refuse(413, "the body is larger than " + std::to_string(limits_.body_bytes) + " bytes");
  }
  if (head.expects_continue && input_.size() == head.bytes) {
    output_ += "HTTP/1.1 100 Continue\r\n\r\n";
    flush();
  }
  ready_.clear();
  position_ = 0;
  // The library sees neither Transfer-Encoding nor Expect: the body is already here. Nor
  // Accept-Encoding: it would compress event streams, which then wait in the compressor.
  ready_ = head_.substr(0, head_.find("\r\n") + 2);
  each_header(head_, [&](const std::string& name, std::string_view value) {
    const bool framing = name == "content-length" || name == "transfer-encoding" ||
                         name == "expect" || name == "range" || name == "content-encoding" ||
                         name == "accept-encoding";
    if (!framing) ready_.append(name).append(": ").append(value).append("\r\n");
  });
  if (head.chunked) return take_chunked(head.bytes);
  if (!need(head.bytes + length)) {
    return ended_ ? Arrival::closed : refuse(408, "the request's body did not arrive in time");
  }
  ready_ += "content-length: " + std::to_string(length) + "\r\n\r\n";
  ready_.append(input_, head.bytes, length);
  input_.erase(0, head.bytes + length);
  return Arrival::request;
}

bool Connection::need(size_t bytes) {
  while (input_.size() < bytes) {
    if (!receive(limits_.body_time)) return false;
  }
  return true;
}

// RFC 9112, section 7.1. Extensions are dropped, trailers refused.
Connection::Arrival Connection::take_chunked(size_t from) {
  constexpr size_t kMaxSizeLine = 128;
  std::string body;
  size_t at = from;
  for (;;) {
    size_t end = std::string::npos;
    while ((end = input_.find("\r\n", at)) == std::string::npos) {
      if (input_.size() - at > kMaxSizeLine) return refuse(400, "a chunk's size is malformed");
      if (!need(input_.size() + 1)) {
        return ended_ ? Arrival::closed : refuse(408, "the request's body did not arrive in time");
      }
    }
    const std::string_view line = std::string_view(input_).substr(at, end - at);
    const auto size = parse_number(trimmed(line.substr(0, line.find(';'))), 16);
    if (!size) return refuse(400, "a chunk's size is malformed");
    if (*size > limits_.body_bytes || body.size() + *size > limits_.body_bytes) {
      return refuse(413,
                    "the body is larger than " + std::to_string(limits_.body_bytes) + " bytes");
    }
    at = end + 2;
    if (!need(at + *size + 2)) {
      return ended_ ? Arrival::closed : refuse(408, "the request's body did not arrive in time");
    }
    if (input_.compare(at + *size, 2, "\r\n") != 0)
      return refuse(400, "a chunk's end is malformed");
    body.append(input_, at, *size);
    at += *size + 2;
    if (*size == 0) break;
    input_.erase(0, at);
    at = 0;
  }
  input_.erase(0, at);
  ready_ += "content-length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  return Arrival::request;
}

std::string Connection::raw_header(std::string_view name) const {
  std::string found;
  each_header(head_, [&](const std::string& key, std::string_view value) {
    if (key == name) found = value;
  });
  return found;
}

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
    const ssize_t n =
        ::send(socket_, output_.data() + sent, output_.size() - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n > 0) {
      sent += static_cast<size_t>(n);
    } else if (errno == EAGAIN) {
      pollfd poll_for{socket_, POLLOUT, 0};
      failed_ = ::poll(&poll_for, 1, static_cast<int>(limits_.write_time.count())) <= 0;
    } else if (errno != EINTR) {
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
