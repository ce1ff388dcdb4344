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

// Byte by byte, so that the stop that ends first wins in every split.
std::string TextStream::push(std::string_view token_bytes) {
  for (const char byte : token_bytes) {
    if (stopped_) break;
    held_ += byte;
    size_t first = std::string::npos;
    for (const std::string& stop : stops_) {
      if (held_.ends_with(stop)) first = std::min(first, held_.size() - stop.size());
    }
    if (first == std::string::npos) continue;
    stopped_ = true;
    return release(first);
  }
  if (stopped_) return {};
  size_t certain = held_.size();
  for (const std::string& stop : stops_) {
    certain = std::min(certain, held_.size() - partial_match(held_, stop));
  }
  return release(utf8_whole_prefix(std::string_view(held_).substr(0, certain)));
}

std::string TextStream::finish() { return stopped_ ? std::string() : release(held_.size()); }

std::string TextStream::release(size_t n_bytes) {
  std::string text = utf8_replace_invalid(std::string_view(held_).substr(0, n_bytes));
  held_.erase(0, n_bytes);
  released_ += n_bytes;
  return text;
}

}  // namespace tristill::openai
