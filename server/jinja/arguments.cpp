#include "server/jinja/arguments.h"

#include <algorithm>

namespace tristill::jinja {

Parameters::Parameters(Context& context, std::string_view what, const Arguments& arguments,
                       std::initializer_list<std::string_view> names)
    : context_(context), what_(what), names_(names), values_(names.size(), nullptr) {
  if (arguments.positional.size() > names.size()) {
    context.fail(std::string(what) + " takes at most " + std::to_string(names.size()) +
                 " arguments; it was given " + std::to_string(arguments.positional.size()));
  }
  for (size_t i = 0; i < arguments.positional.size(); ++i) values_[i] = &arguments.positional[i];
  for (const auto& [name, value] : arguments.named) {
    const auto found = std::find(names_.begin(), names_.end(), name);
    if (found == names_.end())
      context.fail(std::string(what) + " has no argument \"" + name + "\"");
    const Value*& place = values_[static_cast<size_t>(found - names_.begin())];
    if (place != nullptr) context.fail(std::string(what) + " was given " + name + " twice");
    place = &value;
  }
}

const Value& Parameters::required(size_t i) const {
  if (values_[i] == nullptr) {
    context_.fail(std::string(what_) + " needs its argument \"" + std::string(names_[i]) + "\"");
  }
  return *values_[i];
}

void Parameters::refuse(size_t i, const char* accepted) const {
  context_.fail("the argument \"" + std::string(names_[i]) + "\" of " + std::string(what_) +
                " is " + describe(*values_[i]) + "; accepted is " + accepted);
}

int64_t Parameters::integer(size_t i, int64_t fallback) const {
  if (values_[i] == nullptr || is_none(*values_[i])) return fallback;
  if (!is_integer(*values_[i])) refuse(i, "an integer");
  return integer_of(*values_[i]);
}

const Text& Parameters::text(size_t i) const {
  const Text* text = text_of(required(i));
  if (text == nullptr) refuse(i, "a string");
  return *text;
}

const Text* Parameters::text_or_null(size_t i) const {
  return values_[i] == nullptr || is_none(*values_[i]) ? nullptr : &text(i);
}

bool Parameters::truth(size_t i, bool fallback) const {
  return values_[i] == nullptr ? fallback : is_true(*values_[i]);
}

}  // namespace tristill::jinja
