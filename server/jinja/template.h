// Template: a Jinja template as chat templates use the language, parsed once and rendered often.
// Immutable: any thread. Knows nothing of chats (server/chat does).
//
// Written here because Debian 12 has no Jinja for C++ (python3-jinja2, an R binding and Tera for
// Rust are all it has), and because no library keeps the origin of every byte of its output, which
// is what makes it impossible for a user's text to become a control token.
//
// The language is that of Jinja 3.1 in transformers' environment (trim_blocks, lstrip_blocks, loop
// controls, immutable sandbox), as far as parser.h, filters.h, predicates.h and methods.h list it.
// It differs where they say so, and in this: integers have 64 bits; case is one character for one;
// what map, select and reverse give may be gone through more than once; range is a list; safe and
// escape give plain strings, to which nothing is escaped that is put together with them.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "server/jinja/context.h"
#include "server/jinja/syntax.h"
#include "server/jinja/text.h"
#include "server/jinja/value.h"

namespace tristill::jinja {

constexpr size_t kMaxTemplateBytes = 256 << 10;

using Variables = std::map<std::string, Value, std::less<>>;

class Template {
 public:
  // Errors: invalid_argument, "line N: what is wrong"; also when it is larger than
  // kMaxTemplateBytes or no UTF-8.
  static Result<std::shared_ptr<const Template>> parse(std::string_view source);

  // Errors: invalid_argument, "line N: what is wrong", or what the template itself says with
  // raise_exception. Ends within limits whatever the template does.
  Result<Text> render(const Variables& variables, std::chrono::system_clock::time_point now,
                      const Limits& limits = {}) const;

 private:
  explicit Template(Block body) : body_(std::move(body)) {}
  Block body_;
};

}  // namespace tristill::jinja
