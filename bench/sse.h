// Answers of an OpenAI-compatible server as they arrive: HTTP/1.1 framing (Content-Length, chunked,
// until close) and server-sent events, fed with bytes cut anywhere. One thread.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

namespace tristill::bench {

class AnswerReader {
 public:
  // on_event gets the data of every event of a stream ("[DONE]" too), or the whole body of another
  // answer once.
  explicit AnswerReader(std::function<void(std::string_view)> on_event)
      : on_event_(std::move(on_event)) {}

  // Takes the next bytes. Throws std::runtime_error on what is no HTTP.
  void feed(std::string_view bytes);
  // The server closed: ends a body that has no length. False when the answer is cut off.
  bool closed();

  bool done() const { return state_ == State::done; }
  int status() const { return status_; }
  bool keeps_alive() const { return keep_alive_; }

 private:
  enum class State { head, body, chunk_size, chunk_data, chunk_end, trailer, done };

  bool step();
  bool read_head();
  bool read_chunk_size();
  bool take_line(std::string& line);
  void take_body(size_t n);
  void take_events();
  void finish();

  std::function<void(std::string_view)> on_event_;
  State state_ = State::head;
  std::string in_;  // not yet understood
  std::string body_;  // of an answer that is no stream, or the beginning of an event
  int status_ = 0;
  bool stream_ = false;
  bool keep_alive_ = true;
  size_t left_ = 0;  // of the body or the chunk
  bool until_close_ = false;
};

}  // namespace tristill::bench
