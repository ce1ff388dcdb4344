#include "server/jinja/strings.h"

#include <algorithm>
#include <charconv>

#include "base/utf8.h"
#include "server/jinja/characters.h"

namespace tristill::jinja {
namespace {

// Whether a character is to be stripped.
class Strippable {
 public:
  explicit Strippable(const Text* chars) : is_white_(chars == nullptr) {
    if (chars == nullptr) return;
    codes_ = decode_characters(chars->bytes());
    std::sort(codes_.begin(), codes_.end());
  }
  bool operator()(char32_t code) const {
    return is_white_ ? is_space(code) : std::binary_search(codes_.begin(), codes_.end(), code);
  }

 private:
  bool is_white_;
  std::u32string codes_;
};

// Each character by change(code, previous code); origins are kept.
template <class Change>
Text mapped(Context& context, const Text& text, const Change& change) {
  context.make_bytes(text.size());
  Text out;
  char32_t previous = 0;
  for (size_t at = 0; at < text.size();) {
    const Character character = character_at(text.bytes(), at);
    const char32_t code = change(character.code, previous);
    if (code == character.code) out.append(text, at, at + character.length);
    else out.append(utf8_encode(code), text.origin_at(at));
    previous = character.code;
    at += character.length;
  }
  return out;
}

// Parts as they are found, and where the rest begins or ends.
class Parts {
 public:
  Parts(Context& context, const Text& text) : context_(context), text_(text) {}
  void add(size_t begin, size_t end) {
    context_.step();
    parts_.push_back(make_text(context_, text_.slice(begin, end)));
  }
  std::vector<Value> reversed() {
    std::reverse(parts_.begin(), parts_.end());
    return std::move(parts_);
  }
  std::vector<Value> take() { return std::move(parts_); }
  bool may_split(int64_t max_splits) const {
    return max_splits < 0 || static_cast<int64_t>(parts_.size()) < max_splits;
  }

 private:
  Context& context_;
  const Text& text_;
  std::vector<Value> parts_;
};

std::vector<Value> split_at(Context& context, const Text& text, const std::string& separator,
                            int64_t max_splits) {
  Parts parts(context, text);
  size_t begin = 0;
  while (parts.may_split(max_splits)) {
    const size_t found = find_bytes(text.bytes(), separator, begin);
    if (found == std::string::npos) break;
    parts.add(begin, found);
    begin = found + separator.size();
  }
  parts.add(begin, text.size());
  return parts.take();
}

// Every place of the separator is found from the left, those that overlap too; the rightmost ones
// that fit are taken, as by rsplit.
std::vector<Value> split_at_right(Context& context, const Text& text, const std::string& separator,
                                  int64_t max_splits) {
  std::vector<size_t> places;
  for (size_t at = find_bytes(text.bytes(), separator); at != std::string::npos;
       at = find_bytes(text.bytes(), separator, at + 1)) {
    context.step(1 + separator.size() / 64);
    places.push_back(at);
  }
  Parts parts(context, text);
  size_t end = text.size();
  for (auto place = places.rbegin(); place != places.rend() && parts.may_split(max_splits);
       ++place) {
    if (*place + separator.size() > end) continue;
    parts.add(*place + separator.size(), end);
    end = *place;
  }
  parts.add(0, end);
  return parts.reversed();
}

size_t skip_spaces(const std::string& bytes, size_t at) {
  while (at < bytes.size() && is_space(character_at(bytes, at).code)) {
    at += character_at(bytes, at).length;
  }
  return at;
}

size_t skip_word(const std::string& bytes, size_t at) {
  while (at < bytes.size() && !is_space(character_at(bytes, at).code)) {
    at += character_at(bytes, at).length;
  }
  return at;
}

size_t skip_back(const std::string& bytes, size_t end, bool spaces) {
  while (end > 0) {
    const size_t at = character_before(bytes, end);
    if (is_space(character_at(bytes, at).code) != spaces) break;
    end = at;
  }
  return end;
}

std::vector<Value> split_words(Context& context, const Text& text, int64_t max_splits) {
  const std::string& bytes = text.bytes();
  Parts parts(context, text);
  size_t at = skip_spaces(bytes, 0);
  while (at < bytes.size() && parts.may_split(max_splits)) {
    const size_t end = skip_word(bytes, at);
    parts.add(at, end);
    at = skip_spaces(bytes, end);
  }
  if (at < bytes.size()) parts.add(at, bytes.size());
  return parts.take();
}

std::vector<Value> split_words_right(Context& context, const Text& text, int64_t max_splits) {
  const std::string& bytes = text.bytes();
  Parts parts(context, text);
  size_t end = skip_back(bytes, bytes.size(), true);
  while (end > 0 && parts.may_split(max_splits)) {
    const size_t begin = skip_back(bytes, end, false);
    parts.add(begin, end);
    end = skip_back(bytes, begin, true);
  }
  if (end > 0) parts.add(0, end);
  return parts.reversed();
}

bool ends_line(char32_t code) {
  return (code >= '\n' && code <= '\r') || (code >= 0x1C && code <= 0x1E) || code == 0x85 ||
         code == 0x2028 || code == 0x2029;
}

bool begins_word(char32_t previous) {
  constexpr std::u32string_view kBefore = U"-({[<";
  return previous == 0 || is_space(previous) || kBefore.find(previous) != std::u32string_view::npos;
}

// The fields of a pattern: numbered by themselves, {}, or by the pattern, {0}; not both.
struct FieldNumbers {
  size_t next = 0;
  bool are_written = false;
};

const Value& format_field(Context& context, const Arguments& arguments, std::string_view field,
                          FieldNumbers& numbers) {
  size_t index = numbers.next;
  const auto [end, failed] = std::from_chars(field.data(), field.data() + field.size(), index);
  const bool is_number = failed == std::errc() && end == field.data() + field.size();
  if (field.empty()) ++numbers.next;
  numbers.are_written = numbers.are_written || is_number;
  if (numbers.next > 0 && numbers.are_written) {
    context.fail("the pattern of format has both {} and {0}");
  }
  if (field.empty() || is_number) {
    if (index < arguments.positional.size()) return arguments.positional[index];
    context.fail("format has no argument " + std::to_string(index));
  }
  const auto found = std::find_if(arguments.named.begin(), arguments.named.end(),
                                  [&](const auto& one) { return one.first == field; });
  if (found != arguments.named.end()) return found->second;
  context.fail("format has no argument \"" + std::string(field) +
               "\"; accepted are {}, {0} and {name}");
}

}  // namespace

Text strip(Context& context, const Text& text, const Text* chars, Side side) {
  context.make_bytes(text.size());
  const Strippable strippable(chars);
  const std::string& bytes = text.bytes();
  size_t begin = 0;
  size_t end = bytes.size();
  while (side != Side::right && begin < end) {
    const Character character = character_at(bytes, begin);
    if (!strippable(character.code)) break;
    begin += character.length;
  }
  while (side != Side::left && end > begin) {
    const size_t last = character_before(bytes, end);
    if (!strippable(character_at(bytes, last).code)) break;
    end = last;
  }
  return text.slice(begin, end);
}

std::vector<Value> split(Context& context, const Text& text, const Text* separator,
                         int64_t max_splits, bool from_right) {
  context.read_bytes(text.size());
  if (separator == nullptr) {
    return from_right ? split_words_right(context, text, max_splits)
                      : split_words(context, text, max_splits);
  }
  if (separator->empty()) context.fail("the separator of split is empty");
  return from_right ? split_at_right(context, text, separator->bytes(), max_splits)
                    : split_at(context, text, separator->bytes(), max_splits);
}

std::vector<Value> split_lines(Context& context, const Text& text, bool keeps_ends) {
  context.read_bytes(text.size());
  const std::string& bytes = text.bytes();
  Parts parts(context, text);
  size_t begin = 0;
  for (size_t at = 0; at < bytes.size();) {
    const Character character = character_at(bytes, at);
    size_t next = at + character.length;
    if (ends_line(character.code)) {
      if (character.code == '\r' && next < bytes.size() && bytes[next] == '\n') ++next;
      parts.add(begin, keeps_ends ? next : at);
      begin = next;
    }
    at = next;
  }
  if (begin < bytes.size()) parts.add(begin, bytes.size());
  return parts.take();
}

Text replace(Context& context, const Text& text, const Text& old, const Text& replacement,
             int64_t count) {
  context.make_bytes(text.size());
  const std::string& bytes = text.bytes();
  Text out;
  size_t begin = 0;  // of what is not in out yet
  size_t from = 0;
  for (; count != 0; --count) {
    const size_t found = find_bytes(bytes, old.bytes(), from);
    if (found == std::string::npos) break;
    context.step();
    context.make_bytes(replacement.size());
    out.append(text, begin, found);
    out.append(replacement);
    begin = found + old.size();
    if (!old.empty()) {
      from = begin;
    } else if (begin < bytes.size()) {
      from = begin + character_at(bytes, begin).length;
    } else {
      break;
    }
  }
  out.append(text, begin, bytes.size());
  return out;
}

Text upper(Context& context, const Text& text) {
  return mapped(context, text, [](char32_t code, char32_t) { return to_upper(code); });
}

Text lower(Context& context, const Text& text) {
  return mapped(context, text, [](char32_t code, char32_t) { return to_lower(code); });
}

Text capitalize(Context& context, const Text& text) {
  bool is_first = true;
  return mapped(context, text, [&](char32_t code, char32_t) {
    return std::exchange(is_first, false) ? to_upper(code) : to_lower(code);
  });
}

Text title_of_method(Context& context, const Text& text) {
  return mapped(context, text, [](char32_t code, char32_t previous) {
    return is_letter(previous) ? to_lower(code) : to_upper(code);
  });
}

Text title_of_filter(Context& context, const Text& text) {
  return mapped(context, text, [](char32_t code, char32_t previous) {
    return begins_word(previous) ? to_upper(code) : to_lower(code);
  });
}

Text join(Context& context, const std::vector<Value>& items, const Text& separator) {
  Text out;
  bool is_first = true;
  for (const Value& item : items) {
    context.step();
    if (!std::exchange(is_first, false)) {
      context.make_bytes(separator.size());
      out.append(separator);
    }
    append_text(context, item, out);
  }
  return out;
}

Text format(Context& context, const Text& pattern, const Arguments& arguments) {
  const std::string& bytes = pattern.bytes();
  context.make_bytes(bytes.size());
  Text out;
  FieldNumbers numbers;
  for (size_t at = 0; at < bytes.size();) {
    const char c = bytes[at];
    const bool is_doubled = at + 1 < bytes.size() && bytes[at + 1] == c;
    if (c != '{' && c != '}') {
      const size_t end = std::min(bytes.find_first_of("{}", at), bytes.size());
      out.append(pattern, at, end);
      at = end;
    } else if (is_doubled) {
      out.append(pattern, at, at + 1);
      at += 2;
    } else {
      const size_t end = c == '{' ? bytes.find('}', at) : std::string::npos;
      if (end == std::string::npos) context.fail("a single brace in the pattern of format");
      const auto field = std::string_view(bytes).substr(at + 1, end - at - 1);
      append_text(context, format_field(context, arguments, field, numbers), out);
      at = end + 1;
    }
  }
  return out;
}

}  // namespace tristill::jinja
