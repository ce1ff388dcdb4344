// TextStream: tokens -> text of one choice. Holds back half characters and what may be the start
// of a stop text, so that neither ever reaches the client. How the bytes were split into pushes
// makes no difference to the text. Pure; one thread.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace tristill::openai {

class TextStream {
 public:
  // No stop text is empty.
  explicit TextStream(std::vector<std::string> stops) : stops_(std::move(stops)) {}

  // Text that is now certain. After a stop was found, always empty.
  std::string push(std::string_view token_bytes);
  // The rest: what was held back; half characters become U+FFFD.
  std::string finish();

  bool stopped() const { return stopped_; }
  // Of all bytes pushed, how many are in the text so far: with stopped(), where it was cut.
  size_t released() const { return released_; }

 private:
  std::string release(size_t n_bytes);

  std::vector<std::string> stops_;
  std::string held_;
  size_t released_ = 0;
  bool stopped_ = false;
};

}  // namespace tristill::openai
