// TextStream: tokens -> text of one choice. Holds back half characters and what may be the start
// of a stop text, so that neither ever reaches the client. How the bytes were split into pushes
// makes no difference to the text. Pure; one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tristill::openai {

struct TextEnds {
  std::vector<std::string> stops;  // none is empty
  bool show_stop = false;          // the stop text belongs to the text
  uint32_t min_indent = 0;         // a later line that begins with fewer blanks ends the text
                                   // before its line break; empty lines count for nothing
};

class TextStream {
 public:
  explicit TextStream(TextEnds ends) : ends_(std::move(ends)) {}

  // Text that is now certain. After a stop was found, always empty.
  std::string push(std::string_view token_bytes);
  // The rest: what was held back; half characters become U+FFFD.
  std::string finish();

  bool stopped() const { return stopped_; }
  // The stop text that was found; empty when none was.
  const std::string& stop() const { return stop_; }
  // Of all bytes pushed, how many are in the text so far: with stopped(), where it was cut.
  size_t released() const { return released_; }

 private:
  bool ends_with_stop(size_t& cut);
  bool is_outdented(char byte);
  std::string release(size_t n_bytes);

  TextEnds ends_;
  std::string held_;
  std::string stop_;
  size_t released_ = 0;
  bool stopped_ = false;
  // The line that has begun and whose indentation is not known yet:
  bool in_indent_ = false;
  size_t line_break_ = 0;  // in bytes pushed, where it and empty lines before it begin
  uint32_t indent_ = 0;
};

}  // namespace tristill::openai
