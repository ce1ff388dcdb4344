// tristill-render-template: reads lines {"template": TEXT, "variables": {...}}, writes lines
// {"text": TEXT} or {"error": TEXT}. What tests hold against Jinja itself.
#include <iostream>

#include "server/chat/json_value.h"
#include "server/jinja/template.h"

namespace {

using nlohmann::ordered_json;

ordered_json answer(const ordered_json& request) {
  const auto parsed =
      tristill::jinja::Template::parse(request.at("template").get_ref<const std::string&>());
  if (!parsed) return {{"error", parsed.error().message}};
  tristill::jinja::Variables variables;
  for (const auto& [name, value] : request.at("variables").items()) {
    variables[name] = tristill::chat::to_value(value);
  }
  const auto text = (*parsed)->render(variables, std::chrono::system_clock::now());
  if (!text) return {{"error", text.error().message}};
  return {{"text", text->bytes()}};
}

}  // namespace

int main() {
  std::string line;
  while (std::getline(std::cin, line)) {
    std::cout << answer(ordered_json::parse(line)).dump() << "\n";
  }
  return 0;
}
