#include "server/openai/completion_request.h"

#include <algorithm>
#include <charconv>

#include "server/openai/fields.h"
#include "server/openai/response_format.h"

namespace tristill::openai {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;

constexpr int64_t kMaxMilliseconds = 24LL * 3600 * 1000;
constexpr size_t kMaxBiases = 1024;
constexpr size_t kMaxStopTokens = 256;
constexpr float kForbidden = -1e9F;

Error refusal(const char* param, std::string message) {
  return {ErrorCode::invalid_argument, std::move(message), param};
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
  const auto is_id = [](const json& value) {
    return value.is_number_integer() && value.get<int64_t>() >= 0 &&
           value.get<int64_t>() <= INT32_MAX;
  };
  if (!list->is_array() || list->size() > kMaxStopTokens ||
      !std::all_of(list->begin(), list->end(), is_id)) {
    return fields.refuse("stop_token_ids", *list, "a list of at most 256 token ids");
  }
  request.stop_tokens = list->get<std::vector<TokenId>>();
}

std::optional<TokenId> id_of(const std::string& text) {
  TokenId id = kNoToken;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), id);
  const bool whole = failure == std::errc() && end == text.data() + text.size() && id >= 0;
  return whole ? std::optional(id) : std::nullopt;
}

// false forbids, as llama.cpp has it.
void read_bias(Fields& fields, const std::string& where, const json& key, const json& value,
               CompletionRequest& request) {
  const bool forbids = value.is_boolean() && !value.get<bool>();
  if (!forbids && (!value.is_number() || std::abs(value.get<double>()) > 100)) {
    return fields.refuse(where, value, "a number from -100 to 100, or false to forbid it");
  }
  const float bias = forbids ? kForbidden : value.get<float>();
  if (key.is_number_integer() && key.get<int64_t>() >= 0 && key.get<int64_t>() <= INT32_MAX) {
    request.sampling.logit_bias.emplace_back(key.get<TokenId>(), bias);
  } else if (!key.is_string()) {
    fields.refuse(where, key, "a token id or a text");
  } else if (const auto id = id_of(key.get_ref<const std::string&>())) {
    request.sampling.logit_bias.emplace_back(*id, bias);
  } else {
    request.text_bias.emplace_back(key.get<std::string>(), bias);
  }
}

// OpenAI's object, its keys ids or texts; llama.cpp's list of [id or text, number].
void read_logit_bias(Fields& fields, CompletionRequest& request) {
  const json* bias = fields.find("logit_bias");
  if (bias == nullptr) return;
  if (!bias->is_structured() || bias->size() > kMaxBiases) {
    return fields.refuse("logit_bias", *bias,
                         "an object of at most 1024 token ids or texts and numbers");
  }
  if (bias->is_object()) {
    for (const auto& [key, value] : bias->items()) {
      read_bias(fields, "logit_bias." + key, key, value, request);
    }
    return;
  }
  for (size_t i = 0; i < bias->size(); ++i) {
    const std::string where = "logit_bias[" + std::to_string(i) + "]";
    const json& pair = (*bias)[i];
    if (!pair.is_array() || pair.size() != 2) {
      return fields.refuse(where, pair, "a list of a token id or text and a number");
    }
    read_bias(fields, where, pair[0], pair[1], request);
  }
}

void read_penalties(Fields& fields, engine::SamplingParams& sampling) {
  fields.number("repeat_penalty", 0.01, 100, sampling.repetition_penalty);  // llama.cpp's name
  fields.number("repetition_penalty", 0.01, 100, sampling.repetition_penalty);
  fields.number("presence_penalty", -2, 2, sampling.presence_penalty);
  fields.number("frequency_penalty", -2, 2, sampling.frequency_penalty);
}

void read_sampling(Fields& fields, CompletionRequest& request) {
  engine::SamplingParams& sampling = request.sampling;
  fields.number("temperature", 0, 2, sampling.temperature);
  fields.number("top_p", 0, 1, sampling.top_p);
  fields.number("min_p", 0, 1, sampling.min_p);
  fields.number("typical_p", 0, 1, sampling.typical_p);
  read_limit(fields, "top_k", INT32_MAX, sampling.top_k);
  read_penalties(fields, sampling);
  fields.integer("seed", INT64_MIN, INT64_MAX, request.seed);
  read_logit_bias(fields, request);
}

void read_time(Fields& fields, const char* name, std::optional<milliseconds>& target) {
  std::optional<int64_t> ms;
  fields.integer(name, -1, kMaxMilliseconds, ms);
  if (ms && *ms > 0) target = milliseconds(*ms);  // others: no limit, as llama.cpp has it
}

}  // namespace

void read_limit(Fields& fields, const char* name, int64_t high, uint32_t& target) {
  int64_t given = -1;
  fields.integer(name, -1, high, given);
  if (given >= 0) target = static_cast<uint32_t>(given);
}

void read_common(Fields& fields, CompletionRequest& request) {
  fields.text("model", [&](std::string name) { request.model = std::move(name); });
  read_sampling(fields, request);
  read_stop(fields, request);
  read_stop_tokens(fields, request);
  fields.boolean("include_stop_str_in_output", request.show_stop);
  fields.boolean("ignore_eos", request.ignore_eos);
  fields.integer("min_tokens", 0, 1 << 24, request.min_tokens);
  read_time(fields, "t_max_prompt_ms", request.max_prefill);
  read_time(fields, "t_max_predict_ms", request.max_decode);
  fields.integer("priority", -kMaxPriority, kMaxPriority, request.priority);
  fields.text("session_id", [&](std::string id) { request.session = "session " + id; });
  fields.text("user", [](const std::string&) {});
}

void read_stream(Fields& fields, CompletionRequest& request, bool strict) {
  fields.boolean("stream", request.stream);
  const json* options = fields.find("stream_options");
  if (options == nullptr) return;
  if (!options->is_object()) return fields.refuse("stream_options", *options, "an object");
  if (strict && !request.stream) {
    return fields.refuse("stream_options", *options, "null unless stream is true");
  }
  Fields inner(*options);
  bool obfuscation = false;
  inner.boolean("include_usage", request.include_usage);
  inner.boolean("include_obfuscation", obfuscation);
  inner.boolean("continuous_usage_stats", request.continuous_usage);
  if (inner.error()) {
    const auto found = options->find(inner.error()->param);
    fields.refuse("stream_options." + inner.error()->param, *found, "true or false");
  }
}

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

Result<void> check_together(CompletionRequest& request, bool strict) {
  if (request.best_of <= 1) request.best_of = request.n;
  if (request.best_of < request.n) {
    return refusal("best_of", "best_of is " + std::to_string(request.best_of) +
                                  "; accepted is at least n, which is " +
                                  std::to_string(request.n));
  }
  if (request.best_of > request.n && request.stream) {
    return refusal("best_of", "best_of cannot be streamed: which are the best is known at the end");
  }
  const size_t n_prompts = request.gap ? 1 : request.prompts.size();
  const uint64_t choices = uint64_t{request.best_of} * n_prompts;
  if (choices > kMaxChoices) {
    return refusal("n", "n (or best_of) times the number of prompts is " + std::to_string(choices) +
                            "; accepted is at most " + std::to_string(kMaxChoices));
  }
  if (strict && request.stop.size() > 4) {
    return refusal("stop", "stop has " + std::to_string(request.stop.size()) +
                               " texts; accepted are at most 4");
  }
  return {};
}

Result<void> finish_reading(Fields& fields, CompletionRequest& request, bool strict) {
  if (fields.error()) return *fields.error();
  if (strict && !fields.unknown().empty()) {
    const std::string name = fields.unknown().front();
    return refusal(name.c_str(),
                   name +
                       " is not a parameter of this endpoint; remove it, or start the "
                       "server without --strict on");
  }
  for (std::string& name : fields.unknown()) request.ignored.push_back(std::move(name));
  return {};
}

namespace {

// suffix makes the prompt what is before a gap.
Result<void> read_suffix(CompletionRequest& request, std::string suffix) {
  if (suffix.empty()) return {};  // nothing follows: a plain completion
  const bool fits = request.prompts.size() == 1 && request.prompts[0].size() == 1 &&
                    request.prompts[0][0].is_text;
  if (!fits) return refusal("suffix", "suffix needs one prompt that is a string");
  request.gap = Gap{.prefix = request.prompts[0][0].text, .suffix = std::move(suffix)};
  return {};
}

}  // namespace

Result<CompletionRequest> parse_completion_request(std::string_view text, bool strict) {
  const auto body = parse_object(text);
  if (!body) return body.error();
  Fields fields(*body);
  CompletionRequest request;
  std::string suffix;
  read_prompts(fields, "prompt", request.prompts);
  fields.text("suffix", [&](std::string value) { suffix = std::move(value); });
  read_common(fields, request);
  fields.integer("max_tokens", 0, 1 << 24, request.max_tokens);
  fields.integer("n", 1, kMaxChoices, request.n);
  fields.integer("best_of", 0, kMaxBestOf, request.best_of);
  fields.integer("logprobs", 0, strict ? 5 : kMaxLogprobs, request.logprobs);
  fields.boolean("other_logprobs", request.other_logprobs);
  fields.boolean("return_tokens_as_token_ids", request.ids_as_tokens);
  fields.integer("truncate_prompt_tokens", 1, 1 << 24, request.truncate_prompt);
  fields.boolean("echo", request.echo);
  read_stream(fields, request, strict);
  read_prediction(fields, request);
  request.grammar = read_output_form(fields, text);
  if (auto done = finish_reading(fields, request, strict); !done) return done.error();
  if (auto done = read_suffix(request, std::move(suffix)); !done) return done.error();
  if (auto done = check_together(request, strict); !done) return done.error();
  return request;
}

}  // namespace tristill::openai
