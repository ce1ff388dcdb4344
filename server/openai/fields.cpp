#include "server/openai/fields.h"

#include "base/json_depth.h"

namespace tristill::openai {
namespace {

constexpr int kMaxDepth = 32;

template <class Json>
Result<Json> parse_bounded(std::string_view text) {
  if (nests_deeper_than(kMaxDepth, text)) {
    return Error{ErrorCode::invalid_argument, "the body is nested deeper than 32 levels", ""};
  }
  auto json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) {
    return Error{ErrorCode::invalid_argument, "the body is not valid JSON", ""};
  }
  if (!json.is_object()) {
    return Error{ErrorCode::invalid_argument, "the body must be a JSON object", ""};
  }
  return json;
}

}  // namespace

Result<nlohmann::json> parse_object(std::string_view text) {
  return parse_bounded<nlohmann::json>(text);
}

Result<nlohmann::ordered_json> parse_ordered_object(std::string_view text) {
  return parse_bounded<nlohmann::ordered_json>(text);
}

}  // namespace tristill::openai
