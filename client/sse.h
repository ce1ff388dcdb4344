// Server-sent events out of bytes as they arrive (WHATWG HTML, section 9.2.6). One stream, one
// thread. Knows neither HTTP nor JSON.
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace tristill::client {

struct SseEvent {
  std::string id;    // of this event, or the last one before it that had one
  std::string data;  // data lines joined by newlines
};

class SseParser {
 public:
  // Calls on_event for each event that bytes complete; stops at the first answer false and
  // returns false from then on.
  bool feed(std::string_view bytes, const std::function<bool(const SseEvent&)>& on_event);

  // Largest line or event kept, in bytes; a longer one makes feed return false and sets this.
  static constexpr size_t kMaxEventBytes = size_t{64} << 20;
  bool too_long() const { return too_long_; }

 private:
  bool take_line(std::string_view line, const std::function<bool(const SseEvent&)>& on_event);

  std::string line_;
  SseEvent event_;
  bool has_data_ = false;
  bool last_was_cr_ = false;
  bool stopped_ = false;
  bool too_long_ = false;
};

}  // namespace tristill::client
