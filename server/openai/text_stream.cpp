#include "server/openai/text_stream.h"

#include <algorithm>

#include "base/utf8.h"

namespace tristill::openai {
namespace {

// Bytes at the end of text that could begin stop.
size_t partial_match(std::string_view text, std::string_view stop) {
  for (size_t n = std::min(text.size(), stop.size() - 1); n > 0; --n) {
    if (text.substr(text.size() - n) == stop.substr(0, n)) return n;
  }
  return 0;
}

}  // namespace

std::string TextStream::push(std::string_view token_bytes) {
  if (stopped_) return {};
  held_ += token_bytes;
  return release(false);
}

std::string TextStream::finish() {
  if (stopped_) return {};
  return release(true);
}

std::string TextStream::release(bool at_end) {
  size_t first = std::string::npos;
  for (const std::string& stop : stops_) first = std::min(first, held_.find(stop));
  if (first != std::string::npos) {
    stopped_ = true;
    return utf8_replace_invalid(std::string_view(held_).substr(0, first));
  }
  size_t certain = held_.size();
  if (!at_end) {
    for (const std::string& stop : stops_) {
      certain = std::min(certain, held_.size() - partial_match(held_, stop));
    }
    certain = utf8_whole_prefix(std::string_view(held_).substr(0, certain));
  }
  std::string text = utf8_replace_invalid(std::string_view(held_).substr(0, certain));
  held_.erase(0, certain);
  return text;
}

}  // namespace tristill::openai
