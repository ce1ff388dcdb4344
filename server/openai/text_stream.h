// TextStream: tokens -> text of one choice. Holds back half characters and what may be the start
// of a stop text, so that neither ever reaches the client. Pure; one thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace tristill::openai {

class TextStream {
 public:
  explicit TextStream(std::vector<std::string> stops) : stops_(std::move(stops)) {}

  // Text that is now certain. After a stop was found, always empty.
  std::string push(std::string_view token_bytes);
  // The rest: what was held back; half characters become U+FFFD.
  std::string finish();
  bool stopped() const { return stopped_; }

 private:
  std::string release(bool at_end);
  std::vector<std::string> stops_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace tristill::openai
