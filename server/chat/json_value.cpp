#include "server/chat/json_value.h"

namespace tristill::chat {

using jinja::Origin;
using jinja::Value;

Value to_value(const nlohmann::ordered_json& json) {
  using Type = nlohmann::ordered_json::value_t;
  switch (json.type()) {
    case Type::boolean: return json.get<bool>();
    case Type::number_integer: return json.get<int64_t>();
    case Type::number_unsigned:
      if (json.get<uint64_t>() > INT64_MAX) return json.get<double>();
      return static_cast<int64_t>(json.get<uint64_t>());
    case Type::number_float: return json.get<double>();
    case Type::string: return jinja::make_text(json.get_ref<const std::string&>(), Origin::data);
    case Type::array: {
      std::vector<Value> items;
      for (const auto& item : json) items.push_back(to_value(item));
      return jinja::make_list(std::move(items));
    }
    case Type::object: {
      std::vector<std::pair<Value, Value>> entries;
      for (const auto& [key, value] : json.items()) {
        entries.emplace_back(jinja::make_text(key, Origin::data), to_value(value));
      }
      return jinja::make_dict(std::move(entries));
    }
    default: return jinja::None{};
  }
}

}  // namespace tristill::chat
