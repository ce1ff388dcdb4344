#include "bench/sse.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <stdexcept>

namespace tristill::bench {
namespace {

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

size_t number(std::string_view text, int base) {
  size_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc() || end == text.data()) {
    throw std::runtime_error("not a length: " + std::string(text));
  }
  return value;
}

}  // namespace

void AnswerReader::feed(std::string_view bytes) {
  in_ += bytes;
  while (state_ != State::done && step()) {}
}

bool AnswerReader::closed() {
  if (state_ == State::body && until_close_) finish();
  return done();
}

// One piece of the answer; false when its end has not come yet.
bool AnswerReader::step() {
  std::string line;
  switch (state_) {
    case State::head: return read_head();
    case State::chunk_size: return read_chunk_size();
    case State::body:
    case State::chunk_data: {
      if (in_.empty()) return false;
      take_body(until_close_ ? in_.size() : std::min(left_, in_.size()));
      if (until_close_ || left_ > 0) return false;
      if (state_ == State::body) {
        finish();
      } else {
        state_ = State::chunk_end;
      }
      return true;
    }
    case State::chunk_end:
      if (!take_line(line)) return false;
      state_ = State::chunk_size;
      return true;
    case State::trailer:
      if (!take_line(line)) return false;
      if (line.empty()) finish();
      return true;
    case State::done: break;
  }
  return false;
}

bool AnswerReader::take_line(std::string& line) {
  const size_t end = in_.find("\r\n");
  if (end == std::string::npos) return false;
  line = in_.substr(0, end);
  in_.erase(0, end + 2);
  return true;
}

bool AnswerReader::read_head() {
  const size_t end = in_.find("\r\n\r\n");
  if (end == std::string::npos) return false;
  const std::string head = lower(std::string_view(in_).substr(0, end + 2));
  in_.erase(0, end + 4);
  if (!head.starts_with("http/1.") || head.size() < 12) {
    throw std::runtime_error("the server does not speak HTTP/1.1");
  }
  status_ = static_cast<int>(number(std::string_view(head).substr(9, 3), 10));
  stream_ = head.find("\r\ncontent-type: text/event-stream") != std::string::npos;
  keep_alive_ = head.find("\r\nconnection: close") == std::string::npos;
  const size_t length = head.find("\r\ncontent-length: ");
  if (head.find("\r\ntransfer-encoding: chunked") != std::string::npos) {
    state_ = State::chunk_size;
  } else if (length != std::string::npos) {
    left_ = number(std::string_view(head).substr(length + 18), 10);
    state_ = State::body;
    if (left_ == 0) finish();
  } else {
    until_close_ = true;
    keep_alive_ = false;
    state_ = State::body;
  }
  return true;
}

bool AnswerReader::read_chunk_size() {
  std::string line;
  if (!take_line(line)) return false;
  left_ = number(line, 16);
  state_ = left_ == 0 ? State::trailer : State::chunk_data;
  return true;
}

void AnswerReader::take_body(size_t n) {
  body_.append(in_, 0, n);
  in_.erase(0, n);
  left_ -= std::min(left_, n);
  if (stream_) take_events();
}

// Events are separated by an empty line; their data lines begin with "data:".
void AnswerReader::take_events() {
  for (size_t end = body_.find("\n\n"); end != std::string::npos; end = body_.find("\n\n")) {
    const std::string event = body_.substr(0, end);
    body_.erase(0, end + 2);
    if (!event.starts_with("data:")) continue;  // comments and pings
    std::string_view data = std::string_view(event).substr(5);
    if (data.starts_with(' ')) data.remove_prefix(1);
    on_event_(data);
  }
}

void AnswerReader::finish() {
  state_ = State::done;
  if (!stream_) on_event_(body_);
}

}  // namespace tristill::bench
