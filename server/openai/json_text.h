// JsonText: how JSON is written by a model: values as expressions of a grammar. One thread.
//
// Whitespace is bounded, so that no model writes blanks for ever. Inside brackets and behind a
// comma there is none, one space, or a line break with up to 32 spaces or 8 tabs; behind a colon
// none or one space; elsewhere none. Numbers have up to 16 digits, 16 decimals and an exponent of
// two, so that every parser reads them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/grammar/grammar_builder.h"

namespace tristill::openai {

// An end of a range of numbers.
struct NumberBound {
  int64_t value = 0;  // at most kMost away from zero
  bool excluded = false;
  static constexpr int64_t kMost = 999'999'999'999'999;
  static constexpr int64_t kMostExcluded = 1'000'000'000;  // so that a double tells it apart
};

class JsonText {
 public:
  using Expr = GrammarBuilder::Expr;

  static constexpr int64_t kMostInteger = 999'999'999'999'999'999;  // either side of zero

  explicit JsonText(GrammarBuilder& builder) : b_(builder) {}

  Expr gap();  // inside brackets and behind a comma
  Expr colon();  // with what may follow it
  Expr comma();
  Expr any_value();
  Expr any_object();
  Expr any_array();
  // Of Unicode characters, however they are escaped.
  Expr string(uint32_t least, std::optional<uint32_t> most);
  Expr any_string() { return string(0, std::nullopt); }
  Expr characters();  // any of them, any number: what a string holds
  // One of these characters within a string, in its only spelling: escaped where it must be.
  Expr spelled(const CodePoints& set);
  // A whole string of such spellings, none of them equal to one of the texts (valid UTF-8).
  Expr string_other_than(std::vector<std::string> texts);
  Expr number();
  Expr integer();
  // Neither range may be empty.
  Expr integer_between(std::optional<int64_t> low, std::optional<int64_t> high);
  Expr number_between(std::optional<NumberBound> low, std::optional<NumberBound> high);
  // key, colon, value
  Expr member(Expr key, Expr value);
  // "[" items "]", or of members with braces: at least and at most so many.
  Expr list(char open, Expr item, char close, uint32_t least, std::optional<uint32_t> most);

 private:
  using RuleId = GrammarBuilder::RuleId;
  template <class Write>
  Expr once(std::optional<RuleId>& rule, const char* name, Write write);
  Expr character();
  Expr digits(uint32_t least, uint32_t most);
  Expr same_length(const std::string& low, const std::string& high);
  Expr magnitude(int64_t low, std::optional<int64_t> high);
  Expr decimal(NumberBound low, std::optional<NumberBound> high);

  GrammarBuilder& b_;
  std::optional<RuleId> gap_, character_, value_, object_, array_, number_, integer_, string_;
};

// A string as JSON writes it, quotes included, in its only spelling.
std::string json_spelling(std::string_view text);

}  // namespace tristill::openai
