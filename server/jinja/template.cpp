#include "server/jinja/template.h"

#include "base/utf8.h"
#include "server/jinja/interpreter.h"
#include "server/jinja/parser.h"

namespace tristill::jinja {
namespace {

Error to_error(const Failure& failure) {
  if (failure.is_refusal) return {ErrorCode::invalid_argument, failure.message, ""};
  return {ErrorCode::invalid_argument,
          "line " + std::to_string(failure.line) + ": " + failure.message, ""};
}

}  // namespace

Result<std::shared_ptr<const Template>> Template::parse(std::string_view source) {
  if (source.size() > kMaxTemplateBytes) {
    return Error{ErrorCode::invalid_argument,
                 "it has " + std::to_string(source.size()) + " bytes; accepted are at most " +
                     std::to_string(kMaxTemplateBytes),
                 ""};
  }
  if (!utf8_is_valid(source)) return Error{ErrorCode::invalid_argument, "it is not UTF-8", ""};
  try {
    return std::shared_ptr<const Template>(new Template(jinja::parse(source)));
  } catch (const Failure& failure) {
    return to_error(failure);
  }
}

Result<Text> Template::render(const Variables& variables, std::chrono::system_clock::time_point now,
                              const Limits& limits) const {
  Context context(limits, now);
  try {
    return interpret(context, body_, variables);
  } catch (const Failure& failure) {
    return to_error(failure);
  }
}

}  // namespace tristill::jinja
