// Parameters: what a filter, a test or a method was given, by the names of its parameters. Lives
// for one call.
#pragma once

#include <initializer_list>
#include <optional>
#include <string_view>
#include <vector>

#include "server/jinja/context.h"
#include "server/jinja/value.h"

namespace tristill::jinja {

class Parameters {
 public:
  // Borrows arguments. Errors: more than there are names, a name that is none of them or was given
  // already.
  Parameters(Context& context, std::string_view what, const Arguments& arguments,
             std::initializer_list<std::string_view> names);

  // Null when it was not given.
  const Value* at(size_t i) const { return values_[i]; }
  // Errors: not given.
  const Value& required(size_t i) const;
  // Errors: given, but something else.
  int64_t integer(size_t i, int64_t fallback) const;
  const Text& text(size_t i) const;
  const Text* text_or_null(size_t i) const;  // null: not given, or none
  bool truth(size_t i, bool fallback) const;

 private:
  [[noreturn]] void refuse(size_t i, const char* accepted) const;

  Context& context_;
  std::string_view what_;
  std::vector<std::string_view> names_;
  std::vector<const Value*> values_;
};

}  // namespace tristill::jinja
