#include "server/jinja/json_text.h"

#include <algorithm>
#include <cmath>

#include "server/jinja/characters.h"

namespace tristill::jinja {
namespace {

class JsonWriter {
 public:
  JsonWriter(Context& context, const JsonLayout& layout) : context_(context), layout_(layout) {}

  void write(const Value& value) {
    context_.step();
    const Context::Level level(context_);
    if (const Text* text = text_of(value)) return write_string(*text);
    if (const Dict* dict = dict_of(value)) return write_dict(*dict);
    if (const List* list = sequence_of(value)) return write_list(*list);
    say(scalar(value));
  }

  Text take() { return std::move(out_); }

 private:
  void say(std::string_view bytes) {
    context_.make_bytes(bytes.size());
    out_.append(bytes, Origin::data);
  }

  std::string scalar(const Value& value) const {
    if (is_none(value)) return "null";
    if (const bool* truth = std::get_if<bool>(&value)) return *truth ? "true" : "false";
    if (is_integer(value)) return std::to_string(integer_of(value));
    if (!is_number(value)) context_.fail("tojson is given " + describe(value));
    const double number = number_of(value);
    if (std::isnan(number)) return "NaN";
    if (std::isinf(number)) return number < 0 ? "-Infinity" : "Infinity";
    return format_number(number);
  }

  void line_break() {
    if (!layout_.indent) return;
    say("\n");
    for (size_t i = 0; i < nesting_; ++i) say(*layout_.indent);
  }

  // The elements of a list or dictionary, each by write_one(i).
  template <class WriteOne>
  void write_items(const char* brackets, size_t count, const WriteOne& write_one) {
    say(std::string_view(brackets, 1));
    ++nesting_;
    for (size_t i = 0; i < count; ++i) {
      if (i > 0) say(layout_.item_separator);
      line_break();
      write_one(i);
    }
    --nesting_;
    if (count > 0) line_break();
    say(std::string_view(brackets + 1, 1));
  }

  void write_list(const List& list) {
    write_items("[]", list.items.size(), [&](size_t i) { write(list.items[i]); });
  }

  void write_dict(const Dict& dict) {
    std::vector<const std::pair<Value, Value>*> entries;
    for (const auto& entry : dict.entries) entries.push_back(&entry);
    if (layout_.sort_keys) {
      std::stable_sort(entries.begin(), entries.end(), [&](const auto* a, const auto* b) {
        return is_less(context_, a->first, b->first);
      });
    }
    write_items("{}", entries.size(), [&](size_t i) {
      const Text* key = text_of(entries[i]->first);
      if (key != nullptr) write_string(*key);
      else say("\"" + scalar(entries[i]->first) + "\"");
      say(layout_.key_separator);
      write(entries[i]->second);
    });
  }

  static std::string hexadecimal(char32_t code) {
    constexpr char kDigits[] = "0123456789abcdef";
    std::string out = "\\u";
    for (int shift = 12; shift >= 0; shift -= 4) out += kDigits[code >> shift & 15];
    return out;
  }

  // Empty: the character goes as it is.
  std::string escaped(char32_t code) const {
    switch (code) {
      case '"': return "\\\"";
      case '\\': return "\\\\";
      case '\n': return "\\n";
      case '\r': return "\\r";
      case '\t': return "\\t";
      case '\b': return "\\b";
      case '\f': return "\\f";
      default: break;
    }
    if (code < 0x20) return hexadecimal(code);
    if (!layout_.ensure_ascii || code < 0x7F) return "";
    if (code < 0x10000) return code == 0x7F ? "" : hexadecimal(code);
    return hexadecimal(0xD7C0 + (code >> 10)) + hexadecimal(0xDC00 | (code & 0x3FF));
  }

  void write_string(const Text& text) {
    const std::string& bytes = text.bytes();
    context_.make_bytes(bytes.size());
    say("\"");
    size_t plain = 0;  // where what goes as it is begins
    for (size_t at = 0; at < bytes.size();) {
      const Character character = character_at(bytes, at);
      if (const std::string escape = escaped(character.code); !escape.empty()) {
        out_.append(text, plain, at);
        say(escape);
        plain = at + character.length;
      }
      at += character.length;
    }
    out_.append(text, plain, bytes.size());
    say("\"");
  }

  Context& context_;
  const JsonLayout& layout_;
  size_t nesting_ = 0;
  Text out_;
};

}  // namespace

Text json_text(Context& context, const Value& value, const JsonLayout& layout) {
  JsonWriter writer(context, layout);
  writer.write(value);
  return writer.take();
}

}  // namespace tristill::jinja
