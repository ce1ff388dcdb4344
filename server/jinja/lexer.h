// Lexer: the source of a template -> tokens, with Jinja's rules of white space under trim_blocks
// and lstrip_blocks, as chat templates are written for. Pure. Throws Failure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace tristill::jinja {

enum class TokenKind {
  data,  // text between the tags
  variable_begin,
  variable_end,
  block_begin,
  block_end,
  name,
  string,  // its value, escapes resolved
  integer,
  floating,
  symbol,  // an operator or a bracket
  end,
};

struct Token {
  TokenKind kind = TokenKind::end;
  std::string value;
  int line = 1;
};

// source is UTF-8. The last token is end.
std::vector<Token> tokenize(std::string_view source);

}  // namespace tristill::jinja
