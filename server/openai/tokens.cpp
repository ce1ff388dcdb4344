#include "server/openai/tokens.h"

#include <algorithm>
#include <optional>

#include "base/utf8.h"
#include "server/chat/encode.h"
#include "server/http/json.h"
#include "server/openai/fields.h"
#include "server/openai/messages.h"
#include "server/openai/refusal.h"
#include "server/openai/template_routes.h"

namespace tristill::openai {
namespace {

using nlohmann::json;

constexpr size_t kMaxTokens = 1 << 20;

// What to make tokens of: the one of three names that is there. Clients of llama.cpp send content,
// of vLLM prompt or messages.
struct Input {
  std::string text;
  std::optional<ChatPrompt> chat;
};

Result<Input> read_input(Fields& fields, std::string_view body) {
  const char* name = nullptr;
  int given = 0;
  for (const char* one : {"messages", "prompt", "content"}) {
    if (fields.find(one) == nullptr) continue;
    name = one;
    ++given;
  }
  if (given != 1) {
    return Error{ErrorCode::invalid_argument,
                 given == 0 ? "content is missing; send a text as content or as prompt, or messages"
                            : "of content, prompt and messages several are there; send one of them",
                 "content"};
  }
  Input input;
  if (name == std::string_view("messages")) {
    auto chat = parse_chat_prompt(fields, body);
    if (!chat) return chat.error();
    input.chat = std::move(*chat);
    return input;
  }
  fields.text(name, [&](std::string value) { input.text = std::move(value); });
  if (fields.error()) return *fields.error();
  return input;
}

Result<std::vector<TokenId>> tokens_of(const models::ServedModel& served, const Input& input) {
  const Tokenizer& tokenizer = *served.model->tokenizer;
  if (!input.chat) return tokenizer.encode(input.text);
  const auto segments = render_prompt(served, *input.chat);
  if (!segments) return segments.error();
  return chat::encode_chat(tokenizer, *segments);
}

// llama.cpp's form: text where the bytes are some, else the bytes.
json piece_json(std::string_view bytes) {
  if (utf8_is_valid(bytes)) return std::string(bytes);
  json list = json::array();
  for (const char byte : bytes) list.push_back(static_cast<unsigned char>(byte));
  return list;
}

http::Response tokenize(const http::Request& request, const json& body,
                        const models::Registry& registry) {
  Fields fields(body);
  std::string name;
  bool with_pieces = false;
  bool with_texts = false;
  fields.text("model", [&](std::string value) { name = std::move(value); });
  fields.boolean("with_pieces", with_pieces);
  fields.boolean("return_token_strs", with_texts);
  if (fields.error()) return refusal(*fields.error());
  const auto input = read_input(fields, request.body);
  if (!input) return refusal(input.error());
  const auto served = registry.find(name);
  if (!served) return refusal(served.error());
  const Tokenizer& tokenizer = *(*served)->model->tokenizer;
  const auto found = tokens_of(**served, *input);
  if (!found) return refusal(found.error());
  const std::vector<TokenId>& ids = *found;
  json tokens = json::array();
  json texts = json::array();
  for (const TokenId id : ids) {
    if (with_pieces) tokens.push_back({{"id", id}, {"piece", piece_json(tokenizer.bytes_of(id))}});
    else tokens.push_back(id);
    if (with_texts) texts.push_back(tokenizer.piece_of(id));
  }
  json result = {{"tokens", std::move(tokens)},
                 {"count", ids.size()},
                 {"max_model_len", (*served)->engine->max_context()}};
  if (with_texts) result["token_strs"] = std::move(texts);
  http::Response response = http::json_response(result);
  if (input->chat) {
    response.headers[kChatTemplateHeader] = (*(*served)->chat_template)->name();
  }
  return response;
}

http::Response detokenize(const http::Request&, const json& body,
                          const models::Registry& registry) {
  Fields fields(body);
  std::string name;
  fields.text("model", [&](std::string value) { name = std::move(value); });
  const json* const tokens = fields.find("tokens");
  if (fields.error()) return refusal(*fields.error());
  if (tokens == nullptr) {
    return refusal(
        {ErrorCode::invalid_argument, "tokens is missing; send a list of token ids", "tokens"});
  }
  const auto served = registry.find(name);
  if (!served) return refusal(served.error());
  const Tokenizer& tokenizer = *(*served)->model->tokenizer;
  const auto is_id = [&](const json& value) {
    return value.is_number_unsigned() && value.get<uint64_t>() < tokenizer.vocab_size();
  };
  if (!tokens->is_array() || tokens->size() > kMaxTokens) {
    fields.refuse("tokens", *tokens, "a list of at most 1048576 token ids");
  } else if (const auto wrong = std::find_if_not(tokens->begin(), tokens->end(), is_id);
             wrong != tokens->end()) {
    fields.refuse("tokens[" + std::to_string(wrong - tokens->begin()) + "]", *wrong,
                  "an id from 0 to " + std::to_string(tokenizer.vocab_size() - 1));
  }
  if (fields.error()) return refusal(*fields.error());
  const std::string text = tokenizer.decode(tokens->get<std::vector<TokenId>>());
  return http::json_response({{"content", text}, {"prompt", text}});
}

}  // namespace

void add_token_routes(http::Router& router, const models::Registry& registry) {
  const auto add = [&](const char* path, auto handle) {
    router.add("POST", path, [&registry, handle](const http::Request& request) {
      if (auto too_large = refusal_of_size(request)) return *too_large;
      const auto body = parse_object(request.body);
      if (body) return handle(request, *body, registry);
      return refusal(body.error(), body.error().param.empty() ? "invalid_json" : "");
    });
  };
  add("/tokenize", tokenize);
  add("/detokenize", detokenize);
}

}  // namespace tristill::openai
