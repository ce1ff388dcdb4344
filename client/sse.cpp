#include "client/sse.h"

namespace tristill::client {

bool SseParser::feed(std::string_view bytes, const std::function<bool(const SseEvent&)>& on_event) {
  for (size_t at = 0; at < bytes.size() && !stopped_;) {
    if (last_was_cr_ && bytes[at] == '\n') {  // the second half of a CR LF
      last_was_cr_ = false;
      ++at;
      continue;
    }
    last_was_cr_ = false;
    const size_t end = bytes.find_first_of("\r\n", at);
    line_.append(bytes.substr(at, end == std::string_view::npos ? end : end - at));
    if (line_.size() + event_.data.size() > kMaxEventBytes) {
      too_long_ = stopped_ = true;
      break;
    }
    if (end == std::string_view::npos) break;
    last_was_cr_ = bytes[end] == '\r';
    at = end + 1;
    if (!take_line(line_, on_event)) stopped_ = true;
    line_.clear();
  }
  return !stopped_;
}

bool SseParser::take_line(std::string_view line,
                          const std::function<bool(const SseEvent&)>& on_event) {
  if (line.empty()) {
    if (!has_data_) return true;
    has_data_ = false;
    const bool more = on_event(event_);
    event_.data.clear();
    return more;
  }
  const size_t colon = line.find(':');
  if (colon == 0) return true;  // a comment
  const std::string_view field = line.substr(0, colon);
  std::string_view value = colon == std::string_view::npos ? "" : line.substr(colon + 1);
  if (value.starts_with(' ')) value.remove_prefix(1);
  if (field == "data") {
    if (has_data_) event_.data += '\n';
    event_.data += value;
    has_data_ = true;
  } else if (field == "id" && value.find('\0') == std::string_view::npos) {
    event_.id = value;
  }
  return true;
}

}  // namespace tristill::client
