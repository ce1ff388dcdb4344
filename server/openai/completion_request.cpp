#include "server/openai/completion_request.h"

#include <algorithm>
#include <charconv>

#include "server/openai/fields.h"

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

// A list of ids, of texts, of lists of ids, or of texts and ids mixed (then one prompt).
void read_prompt_list(Fields& fields, const json& list, CompletionRequest& request) {
  bool mixed = false;
  bool has_number = false;
  bool has_other = false;
  for (const json& item : list) (item.is_number() ? has_number : has_other) = true;
  mixed = has_number && has_other;
  if (has_number && !mixed && all_tokens(list)) {
    request.prompts = {{ids_part(list, "prompt")}};
    return;
  }
  Prompt one;
  for (size_t i = 0; i < list.size(); ++i) {
    const json& item = list[i];
    const std::string where = "prompt[" + std::to_string(i) + "]";
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
    else request.prompts.push_back({std::move(part)});
  }
  if (mixed) request.prompts.push_back(std::move(one));
}

void read_prompt(Fields& fields, CompletionRequest& request) {
  const json* prompt = fields.find("prompt");
  if (prompt == nullptr) {
    request.prompts = {{PromptPart{}}};  // the start of a document
  } else if (prompt->is_string()) {
    request.prompts = {{PromptPart{.text = prompt->get<std::string>()}}};
  } else if (prompt->is_array() && prompt->size() > kMaxPromptElements) {
    fields.refuse("prompt", prompt->size(),
                  "a list of at most " + std::to_string(kMaxPromptElements) + " elements");
  } else if (prompt->is_array() && !prompt->empty()) {
    read_prompt_list(fields, *prompt, request);
    if (request.prompts.size() > kMaxPrompts) {
      fields.refuse("prompt", request.prompts.size(),
                    "at most " + std::to_string(kMaxPrompts) + " prompts");
    }
  } else {
    fields.refuse("prompt", *prompt,
                  "a string, a list of strings, a list of token ids, or a list of such lists");
  }
}

void read_stop(Fields& fields, CompletionRequest& request) {
  const json* stop = fields.find("stop");
  if (stop == nullptr) return;
  const json list = stop->is_string() ? json::array({*stop}) : *stop;
  if (!list.is_array() || list.size() > kMaxStops) {
    return fields.refuse("stop", *stop, "a string, or a list of at most 32 strings");
  }
  for (size_t i = 0; i < list.size(); ++i) {
    const std::string where = stop->is_string() ? "stop" : "stop[" + std::to_string(i) + "]";
    if (!list[i].is_string() || list[i].get_ref<const std::string&>().size() > kMaxStopBytes) {
      return fields.refuse(where, list[i], "a string of at most 1024 bytes");
    }
    if (list[i] != "") request.stop.push_back(list[i].get<std::string>());
  }
}

void read_stop_tokens(Fields& fields, CompletionRequest& request) {
  const json* list = fields.find("stop_token_ids");
  if (list == nullptr) return;
  if (!list->is_array() || list->size() > 256 || !all_tokens(*list)) {
    return fields.refuse("stop_token_ids", *list, "a list of at most 256 token ids");
  }
  request.stop_tokens = ids_part(*list, "").ids;
}

void read_logit_bias(Fields& fields, CompletionRequest& request) {
  const json* bias = fields.find("logit_bias");
  if (bias == nullptr) return;
  if (!bias->is_object() || bias->size() > 1024) {
    return fields.refuse("logit_bias", *bias, "an object of at most 1024 token ids and numbers");
  }
  for (const auto& [key, value] : bias->items()) {
    const std::string where = "logit_bias." + key;
    TokenId id = kNoToken;
    const auto [end, failure] = std::from_chars(key.data(), key.data() + key.size(), id);
    const bool is_id = failure == std::errc() && end == key.data() + key.size() && id >= 0;
    if (!value.is_number() || std::abs(value.get<double>()) > 100) {
      return fields.refuse(where, value, "a number from -100 to 100");
    }
    if (is_id) request.sampling.logit_bias.emplace_back(id, value.get<float>());
    else request.ignored.push_back(where);
  }
}

void read_stream_options(Fields& fields, CompletionRequest& request) {
  const json* options = fields.find("stream_options");
  if (options == nullptr) return;
  if (!options->is_object()) return fields.refuse("stream_options", *options, "an object");
  Fields inner(*options);
  bool obfuscation = false;
  inner.boolean("include_usage", request.include_usage);
  inner.boolean("include_obfuscation", obfuscation);
  if (inner.error()) {
    const auto found = options->find(inner.error()->param);
    fields.refuse("stream_options." + inner.error()->param, *found, "true or false");
  }
}

void read_sampling(Fields& fields, CompletionRequest& request) {
  engine::SamplingParams& sampling = request.sampling;
  fields.number("temperature", 0, 2, sampling.temperature);
  fields.number("top_p", 0, 1, sampling.top_p);
  fields.number("min_p", 0, 1, sampling.min_p);
  fields.integer("top_k", 0, INT32_MAX, sampling.top_k);
  fields.number("repetition_penalty", 0.01, 100, sampling.repetition_penalty);
  fields.number("presence_penalty", -2, 2, sampling.presence_penalty);
  fields.number("frequency_penalty", -2, 2, sampling.frequency_penalty);
  fields.integer("seed", INT64_MIN, INT64_MAX, request.seed);
  read_logit_bias(fields, request);
}

Error refusal(const char* param, std::string message) {
  return {ErrorCode::invalid_argument, std::move(message), param};
}

// Fields that are right alone but wrong together.
Result<CompletionRequest> check_together(CompletionRequest request) {
  const bool best_of_given = request.best_of > 1;
  if (best_of_given && request.best_of != request.n) {
    return refusal("best_of", "best_of is " + std::to_string(request.best_of) +
                                  "; accepted is 0, 1 or the value of n");
  }
  const uint64_t choices = uint64_t{request.n} * request.prompts.size();
  if (choices > kMaxChoices) {
    return refusal("n", "n times the number of prompts is " + std::to_string(choices) +
                            "; accepted is at most " + std::to_string(kMaxChoices));
  }
  if (request.suffix && (request.prompts.size() != 1 || request.prompts[0].size() != 1 ||
                         !request.prompts[0][0].is_text)) {
    return refusal("suffix", "suffix needs one prompt that is a string");
  }
  return request;
}

// {"type": "content", "content": text, or a list of {"type": "text", "text"} parts}.
void read_prediction(Fields& fields, CompletionRequest& request) {
  const json* prediction = fields.find("prediction");
  if (prediction == nullptr) return;
  constexpr const char* kAccepted =
      "{\"type\": \"content\", \"content\": text or a list of {\"type\": \"text\", \"text\"} "
      "parts}";
  const auto refuse = [&] { fields.refuse("prediction", *prediction, kAccepted); };
  if (!prediction->is_object() || prediction->value("type", json()) != "content") return refuse();
  const json content = prediction->value("content", json());
  if (content.is_string()) {
    request.prediction = content.get<std::string>();
    return;
  }
  if (!content.is_array()) return refuse();
  for (const json& part : content) {
    const bool text = part.is_object() && part.value("type", json()) == "text" &&
                      part.contains("text") && part["text"].is_string();
    if (!text) return refuse();
    request.prediction += part["text"].get<std::string>();
  }
}

}  // namespace

Result<CompletionRequest> parse_completion_request(std::string_view text) {
  const auto body = parse_object(text);
  if (!body) return body.error();
  Fields fields(*body);
  CompletionRequest request;
  fields.text("model", [&](std::string name) { request.model = std::move(name); });
  read_prompt(fields, request);
  fields.text("suffix", [&](std::string suffix) {
    if (!suffix.empty()) request.suffix = std::move(suffix);  // nothing follows: a plain completion
  });
  fields.integer("max_tokens", 0, 1 << 24, request.max_tokens);
  read_sampling(fields, request);
  fields.integer("n", 1, kMaxChoices, request.n);
  fields.integer("best_of", 0, kMaxLogprobs, request.best_of);
  read_stop(fields, request);
  read_stop_tokens(fields, request);
  fields.integer("logprobs", 0, kMaxLogprobs, request.logprobs);
  fields.boolean("echo", request.echo);
  fields.boolean("ignore_eos", request.ignore_eos);
  fields.boolean("stream", request.stream);
  read_stream_options(fields, request);
  read_prediction(fields, request);
  fields.integer("priority", -kMaxPriority, kMaxPriority, request.priority);
  fields.text("user", [](const std::string&) {});
  if (fields.error()) return *fields.error();
  for (std::string& name : fields.unknown()) request.ignored.push_back(std::move(name));
  return check_together(std::move(request));
}

}  // namespace tristill::openai
