#include "server/openai/prompt.h"

#include <algorithm>

namespace tristill::openai {
namespace {

using nlohmann::json;

constexpr int64_t kMaxToken = INT32_MAX;
constexpr size_t kMaxPromptElements = 1 << 20;

bool is_token(const json& value) {
  return value.is_number_integer() && value.get<int64_t>() >= 0 &&
         value.get<int64_t>() <= kMaxToken;
}

bool all_tokens(const json& list) {
  return std::all_of(list.begin(), list.end(), [](const json& item) { return is_token(item); });
}

PromptPart ids_part(const json& list, std::string path) {
  PromptPart part;
  part.is_text = false;
  part.path = std::move(path);
  for (const json& item : list) part.ids.push_back(item.get<TokenId>());
  return part;
}

void read_list(Fields& fields, const std::string& name, const json& list,
               std::vector<Prompt>& prompts) {
  bool has_number = false;
  bool has_other = false;
  for (const json& item : list) (item.is_number() ? has_number : has_other) = true;
  const bool mixed = has_number && has_other;
  if (has_number && !mixed && all_tokens(list)) {
    prompts = {{ids_part(list, name)}};
    return;
  }
  Prompt one;
  for (size_t i = 0; i < list.size(); ++i) {
    const json& item = list[i];
    const std::string where = name + "[" + std::to_string(i) + "]";
    PromptPart part;
    if (item.is_string()) {
      part.text = item.get<std::string>();
    } else if (item.is_array() && !item.empty() && all_tokens(item) && !mixed) {
      part = ids_part(item, where);
    } else if (is_token(item)) {
      part = ids_part(json::array({item}), where);
      part.is_element = true;
    } else {
      return fields.refuse(where, item, "a string, a token id, or a list of token ids");
    }
    if (mixed) one.push_back(std::move(part));
    else prompts.push_back({std::move(part)});
  }
  if (mixed) prompts.push_back(std::move(one));
}

}  // namespace

void read_prompts(Fields& fields, const char* name, std::vector<Prompt>& prompts) {
  prompts.clear();
  const json* prompt = fields.find(name);
  if (prompt == nullptr) {
    prompts = {{PromptPart{}}};
  } else if (prompt->is_string()) {
    prompts = {{PromptPart{.text = prompt->get<std::string>()}}};
  } else if (prompt->is_array() && prompt->size() > kMaxPromptElements) {
    fields.refuse(name, prompt->size(),
                  "a list of at most " + std::to_string(kMaxPromptElements) + " elements");
  } else if (prompt->is_array() && !prompt->empty()) {
    read_list(fields, name, *prompt, prompts);
    if (prompts.size() > kMaxPrompts) {
      fields.refuse(name, prompts.size(), "at most " + std::to_string(kMaxPrompts) + " prompts");
    }
  } else {
    fields.refuse(name, *prompt,
                  "a string, a list of strings, a list of token ids, or a list of such lists");
  }
}

Result<void> check_bytes(size_t n_bytes, const models::ServedModel& served) {
  const size_t most = served.longest_token * served.engine->max_context();
  if (n_bytes <= most) return {};
  return Error{ErrorCode::invalid_argument,
               "context_length: the prompt has " + std::to_string(n_bytes) +
                   " bytes; the context of " + std::to_string(served.engine->max_context()) +
                   " tokens has room for at most " + std::to_string(most),
               "prompt"};
}

Result<std::vector<TokenId>> tokens_of(const Prompt& prompt, const models::ServedModel& served) {
  const Tokenizer& tokenizer = *served.model->tokenizer;
  const uint32_t vocabulary = served.model->config.vocab_size;
  size_t n_bytes = 0;
  for (const PromptPart& part : prompt) n_bytes += part.text.size();
  if (auto fits = check_bytes(n_bytes, served); !fits) return fits.error();
  std::vector<TokenId> ids;
  for (const PromptPart& part : prompt) {
    for (size_t i = 0; i < part.ids.size(); ++i) {
      if (static_cast<uint32_t>(part.ids[i]) < vocabulary) continue;
      return Error{ErrorCode::invalid_argument,
                   part.path_of(i) + " is " + std::to_string(part.ids[i]) +
                       "; accepted are the ids 0 to " + std::to_string(vocabulary - 1),
                   part.path_of(i)};
    }
    const auto more = part.is_text ? tokenizer.encode(part.text) : part.ids;
    ids.insert(ids.end(), more.begin(), more.end());
  }
  if (ids.empty()) ids.push_back(std::max(tokenizer.special().eos, 0));
  return ids;
}

}  // namespace tristill::openai
