#include "server/jinja/lexer.h"

#include <algorithm>

#include "base/utf8.h"
#include "server/jinja/characters.h"
#include "server/jinja/context.h"

namespace tristill::jinja {
namespace {

// Line ends become \n; one at the very end is dropped.
std::string normalized(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      out += source[i];
    } else if (i + 1 == source.size() || source[i + 1] != '\n') {
      out += '\n';
    }
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// The body of a string literal -> its value, with Python's escapes.
class Escapes {
 public:
  Escapes(std::string_view body, int line) : body_(body), line_(line) {}

  std::string resolve() {
    std::string out;
    while (at_ < body_.size()) {
      if (body_[at_] != '\\' || at_ + 1 == body_.size()) {
        out += body_[at_++];
        continue;
      }
      const char letter = body_[at_ + 1];
      at_ += 2;
      if (letter == 'x' || letter == 'u' || letter == 'U') {
        out += character(hexadecimal(letter == 'x' ? 2 : letter == 'u' ? 4 : 8));
      } else if (letter >= '0' && letter <= '7') {
        --at_;
        out += character(octal());
      } else {
        out += simple(letter);
      }
    }
    return out;
  }

 private:
  static std::string simple(char letter) {
    switch (letter) {
      case '\n': return "";
      case '\\': return "\\";
      case '\'': return "'";
      case '"': return "\"";
      case 'a': return "\a";
      case 'b': return "\b";
      case 'f': return "\f";
      case 'n': return "\n";
      case 'r': return "\r";
      case 't': return "\t";
      case 'v': return "\v";
      default: return {'\\', letter};
    }
  }

  char32_t hexadecimal(int digits) {
    char32_t code = 0;
    for (int i = 0; i < digits; ++i, ++at_) {
      const int value = at_ < body_.size() ? hex_value(body_[at_]) : -1;
      if (value < 0) {
        throw Failure{"an escape in a string has too few digits; \\x takes 2, \\u 4, \\U 8", line_};
      }
      code = code << 4 | static_cast<char32_t>(value);
    }
    return code;
  }

  char32_t octal() {
    char32_t code = 0;
    for (int i = 0; i < 3 && at_ < body_.size() && body_[at_] >= '0' && body_[at_] <= '7'; ++i) {
      code = code << 3 | static_cast<char32_t>(body_[at_++] - '0');
    }
    return code;
  }

  std::string character(char32_t code) const {
    if (code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) {
      throw Failure{"an escape in a string names no character", line_};
    }
    return utf8_encode(code);
  }

  std::string_view body_;
  size_t at_ = 0;
  int line_;
};

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(normalized(source)), rest_(source_) {}

  std::vector<Token> run() {
    while (!rest_.empty()) text_and_tag();
    add(TokenKind::end, "");
    return std::move(tokens_);
  }

 private:
  void add(TokenKind kind, std::string_view value) {
    tokens_.push_back({kind, std::string(value), line_});
  }

  [[noreturn]] void fail(std::string message) const { throw Failure{std::move(message), line_}; }

  // The next n bytes are done with.
  void advance(size_t n) {
    line_ +=
        static_cast<int>(std::count(rest_.begin(), rest_.begin() + static_cast<long>(n), '\n'));
    at_line_start_ = n > 0 ? rest_[n - 1] == '\n' : at_line_start_;
    rest_.remove_prefix(n);
  }

  static size_t spaces_at(std::string_view text, size_t at) {
    const size_t from = at;
    while (at < text.size()) {
      const Character character = character_at(text, at);
      if (!is_space(character.code)) break;
      at += character.length;
    }
    return at - from;
  }

  static std::string_view without_trailing_spaces(std::string_view text) {
    while (!text.empty()) {
      const size_t last = character_before(text, text.size());
      if (!is_space(character_at(text, last).code)) break;
      text = text.substr(0, last);
    }
    return text;
  }

  // What of the text before a tag is kept. sign: '-', '+' or 0 behind the tag's opening.
  std::string_view kept(std::string_view text, char sign, bool is_variable) const {
    if (sign == '-') return without_trailing_spaces(text);
    if (sign == '+' || is_variable) return text;
    const size_t newline = text.rfind('\n');
    const bool at_start = newline != std::string_view::npos || at_line_start_;
    const size_t line = newline == std::string_view::npos ? 0 : newline + 1;
    const bool blank = line < text.size() && spaces_at(text, line) == text.size() - line;
    return at_start && blank ? text.substr(0, line) : text;
  }

  static char sign_at(std::string_view text, size_t at) {
    const char c = at < text.size() ? text[at] : '\0';
    return c == '-' || c == '+' ? c : '\0';
  }

  void add_data(std::string_view text) {
    if (!text.empty()) add(TokenKind::data, text);
  }

  void text_and_tag() {
    size_t tag = 0;
    for (;; ++tag) {
      tag = rest_.find('{', tag);
      if (tag == std::string_view::npos || tag + 1 == rest_.size()) {
        add_data(rest_);
        return advance(rest_.size());
      }
      if (rest_[tag + 1] == '%' || rest_[tag + 1] == '{' || rest_[tag + 1] == '#') break;
    }
    const char form = rest_[tag + 1];
    const char sign = sign_at(rest_, tag + 2);
    add_data(kept(rest_.substr(0, tag), sign, form == '{'));
    advance(tag);
    if (form == '%' && raw_block()) return;
    const size_t opening = sign == '\0' ? 2 : 3;
    if (form == '#') return comment(opening);
    add(form == '%' ? TokenKind::block_begin : TokenKind::variable_begin, "");
    advance(opening);
    inside(form == '%');
  }

  // How long the end of a block is with what it takes away behind itself: -%}, +%} or %}; 0: none.
  static size_t block_end_at(std::string_view text, size_t at, bool trims_newline = true) {
    const char sign = sign_at(text, at);
    const size_t close = at + (sign == '\0' ? 0 : 1);
    if (!text.substr(std::min(close, text.size())).starts_with("%}")) return 0;
    const size_t end = close + 2;
    if (sign == '-') return end + spaces_at(text, end) - at;
    const bool newline = trims_newline && sign == '\0' && end < text.size() && text[end] == '\n';
    return end + (newline ? 1 : 0) - at;
  }

  // {% word %} at the start of text -> its length; 0: something else. The opening's length is
  // skipped already when is_open.
  static size_t word_block_at(std::string_view text, std::string_view word, bool is_begin) {
    size_t at = 2;
    if (sign_at(text, at) != '\0') ++at;
    at += spaces_at(text, at);
    if (!text.substr(std::min(at, text.size())).starts_with(word)) return 0;
    at += word.size();
    at += spaces_at(text, at);
    if (is_begin && sign_at(text, at) == '+') return 0;
    const size_t end = block_end_at(text, at, !is_begin);
    return end == 0 ? 0 : at + end;
  }

  bool raw_block() {
    const size_t opening = word_block_at(rest_, "raw", true);
    if (opening == 0) return false;
    advance(opening);
    for (size_t at = rest_.find("{%"); at != std::string_view::npos;
         at = rest_.find("{%", at + 1)) {
      const size_t closing = word_block_at(rest_.substr(at), "endraw", false);
      if (closing == 0) continue;
      add_data(kept(rest_.substr(0, at), sign_at(rest_, at + 2), false));
      advance(at + closing);
      return true;
    }
    fail("{% raw %} has no {% endraw %}");
  }

  void comment(size_t opening) {
    const size_t close = rest_.find("#}", opening);
    if (close == std::string_view::npos) fail("a comment has no end; #} ends one");
    const char sign = close > opening ? sign_at(rest_, close - 1) : '\0';
    size_t end = close + 2;
    if (sign == '-') end += spaces_at(rest_, end);
    else if (sign == '\0' && end < rest_.size() && rest_[end] == '\n') ++end;
    advance(end);
  }

  // The tokens of one tag, its end included.
  void inside(bool is_block) {
    std::string open;  // brackets that wait for their end
    for (;;) {
      advance(spaces_at(rest_, 0));
      if (rest_.empty()) fail(is_block ? "a block has no end; %} ends one" : "}} is missing");
      if (open.empty()) {
        if (const size_t end = tag_end(is_block); end > 0) {
          add(is_block ? TokenKind::block_end : TokenKind::variable_end, "");
          return advance(end);
        }
      }
      const char c = rest_[0];
      if (is_digit(static_cast<unsigned char>(c))) number();
      else if (c == '\'' || c == '"') string();
      else if (name_length() > 0) name();
      else symbol(open);
    }
  }

  size_t tag_end(bool is_block) const {
    if (is_block) return block_end_at(rest_, 0);
    if (rest_.starts_with("-}}")) return 3 + spaces_at(rest_, 3);
    return rest_.starts_with("}}") ? 2 : 0;
  }

  size_t name_length() const {
    size_t at = 0;
    while (at < rest_.size()) {
      const Character character = character_at(rest_, at);
      const char32_t c = character.code;
      if (c != '_' && !is_letter(c) && !is_digit(c)) break;
      at += character.length;
    }
    return at;
  }

  void name() {
    const size_t length = name_length();
    add(TokenKind::name, rest_.substr(0, length));
    advance(length);
  }

  // Digits with single underscores between, from at on.
  static size_t digits_at(std::string_view text, size_t at, std::string_view accepted) {
    const size_t from = at;
    while (at < text.size()) {
      const bool joined = text[at] == '_' && at > from && at + 1 < text.size();
      const size_t digit = joined ? at + 1 : at;
      if (accepted.find(text[digit]) == std::string_view::npos) break;
      at = digit + 1;
    }
    return at - from;
  }

  void number() {
    constexpr std::string_view kDecimal = "0123456789";
    const bool after_dot =
        !tokens_.empty() && tokens_.back().kind == TokenKind::symbol && tokens_.back().value == ".";
    const size_t whole = digits_at(rest_, 0, kDecimal);
    size_t length = whole;
    bool is_floating = false;
    if (!after_dot) {
      const auto at = [&](size_t i) { return i < rest_.size() ? rest_[i] : '\0'; };
      if (at(length) == '.') {
        const size_t digits = digits_at(rest_, length + 1, kDecimal);
        if (digits > 0) length += 1 + digits, is_floating = true;
      }
      if (at(length) == 'e' || at(length) == 'E') {
        const size_t sign = at(length + 1) == '+' || at(length + 1) == '-' ? 1 : 0;
        const size_t digits = digits_at(rest_, length + 1 + sign, kDecimal);
        if (digits > 0) length += 1 + sign + digits, is_floating = true;
      }
    }
    if (!is_floating) length = integer_length(whole);
    std::string digits(rest_.substr(0, length));
    std::erase(digits, '_');
    add(is_floating ? TokenKind::floating : TokenKind::integer, digits);
    advance(length);
  }

  size_t integer_length(size_t decimal) const {
    if (rest_[0] != '0') return decimal;
    const char base = rest_.size() > 1 ? static_cast<char>(rest_[1] | 0x20) : '\0';
    const std::string_view accepted = base == 'b'   ? "01"
                                      : base == 'o' ? "01234567"
                                      : base == 'x' ? "0123456789abcdefABCDEF"
                                                    : "";
    const size_t digits = accepted.empty() ? 0 : digits_at(rest_, 2, accepted);
    return digits > 0 ? 2 + digits : digits_at(rest_, 0, "0");
  }

  void string() {
    size_t end = 1;
    while (end < rest_.size() && rest_[end] != rest_[0]) end += rest_[end] == '\\' ? 2 : 1;
    if (end >= rest_.size()) fail("a string has no end");
    add(TokenKind::string, Escapes(rest_.substr(1, end - 1), line_).resolve());
    advance(end + 1);
  }

  void symbol(std::string& open) {
    for (const std::string_view two : {"//", "**", "==", "!=", ">=", "<="}) {
      if (!rest_.starts_with(two)) continue;
      add(TokenKind::symbol, two);
      return advance(2);
    }
    const char c = rest_[0];
    const std::string shown(rest_.substr(0, character_at(rest_, 0).length));
    if (std::string_view("+-*/%~[](){}<>=.:|,;").find(c) == std::string_view::npos) {
      fail("unexpected " + shown);
    }
    if (c == '(') open += ')';
    if (c == '[') open += ']';
    if (c == '{') open += '}';
    if (c == ')' || c == ']' || c == '}') {
      if (open.empty() || open.back() != c) {
        fail("unexpected " + shown +
             (open.empty() ? "" : std::string("; expected ") + open.back()));
      }
      open.pop_back();
    }
    add(TokenKind::symbol, rest_.substr(0, 1));
    advance(1);
  }

  std::string source_;
  std::string_view rest_;
  int line_ = 1;
  bool at_line_start_ = true;
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> tokenize(std::string_view source) { return Lexer(source).run(); }

}  // namespace tristill::jinja
