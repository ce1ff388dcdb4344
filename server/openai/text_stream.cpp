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

// The stop that begins first, of those that end here; cut is where the text ends.
bool TextStream::ends_with_stop(size_t& cut) {
  const std::string* found = nullptr;
  for (const std::string& stop : ends_.stops) {
    if (held_.ends_with(stop) && (found == nullptr || stop.size() > found->size())) found = &stop;
  }
  if (found == nullptr) return false;
  stop_ = *found;
  cut = held_.size() - (ends_.show_stop ? 0 : stop_.size());
  return true;
}

// Follows the beginnings of lines; byte is the last of held_.
bool TextStream::is_outdented(char byte) {
  if (ends_.min_indent == 0) return false;
  if (byte == '\n') {
    if (!in_indent_) line_break_ = released_ + held_.size() - 1;
    in_indent_ = true;
    indent_ = 0;
  } else if (in_indent_ && (byte == ' ' || byte == '\t')) {
    ++indent_;
  } else if (in_indent_) {
    in_indent_ = false;
    return indent_ < ends_.min_indent;
  }
  return false;
}

// Byte by byte, so that the stop that ends first wins in every split.
std::string TextStream::push(std::string_view token_bytes) {
  for (const char byte : token_bytes) {
    if (stopped_) break;
    held_ += byte;
    size_t cut = 0;
    stopped_ = ends_with_stop(cut);
    if (!stopped_ && is_outdented(byte)) {
      stopped_ = true;
      cut = line_break_ - released_;
    }
    if (stopped_) return release(cut);
  }
  if (stopped_) return {};
  size_t certain = in_indent_ ? line_break_ - released_ : held_.size();
  for (const std::string& stop : ends_.stops) {
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
