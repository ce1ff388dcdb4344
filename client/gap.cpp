#include "client/gap.h"

#include "base/utf8.h"

namespace tristill::client {
namespace {

// The offset of the character with this index, which is at most the text's length.
size_t offset_of(std::string_view text, uint64_t index) {
  size_t at = 0;
  for (uint64_t i = 0; i < index && at < text.size(); ++i) {
    ++at;
    while (at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) ++at;
  }
  return at;
}

}  // namespace

Result<Gap> gap_at(std::string_view text, uint64_t line, uint64_t column) {
  size_t begin = 0;
  uint64_t number = 1;
  for (; number < line; ++number) {
    const size_t end = text.find('\n', begin);
    if (end == std::string_view::npos) break;
    begin = end + 1;
  }
  if (line < 1 || number < line) {
    return Error{ErrorCode::invalid_argument,
                 "line " + std::to_string(line) + " is not in the file; it has lines 1 to " +
                     std::to_string(number),
                 "line"};
  }
  std::string_view words = text.substr(begin, text.find('\n', begin) - begin);
  if (words.ends_with('\r')) words.remove_suffix(1);
  const size_t length = utf8_length(words);
  if (column < 1 || column - 1 > length) {
    return Error{ErrorCode::invalid_argument,
                 "column " + std::to_string(column) + " is not in line " + std::to_string(line) +
                     "; it has columns 1 to " + std::to_string(length + 1),
                 "column"};
  }
  const size_t at = begin + offset_of(words, column - 1);
  return Gap{.prefix = std::string(text.substr(0, at)), .suffix = std::string(text.substr(at))};
}

}  // namespace tristill::client
