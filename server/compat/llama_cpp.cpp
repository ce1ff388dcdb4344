#include "server/compat/llama_cpp.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "server/http/error.h"
#include "server/openai/fields.h"
#include "server/openai/refusal.h"
#include "server/openai/respond.h"
#include "server/openai/response_format.h"

namespace tristill::compat {
namespace {

using engine::FinishReason;
using nlohmann::json;
using openai::Choice;
using openai::ChoiceCounts;
using openai::Completion;
using openai::CompletionRequest;
using openai::Fields;
using openai::ShownToken;

constexpr size_t kMaxExtraFiles = 1024;
constexpr size_t kMaxResponseFields = 256;

// What these requests say beyond a CompletionRequest.
struct Wishes {
  std::vector<std::string> response_fields;  // "timings/prompt_n"; empty: all
  bool filters = false;                      // response_fields were given
  bool return_tokens = false;
  bool timings_per_token = false;
  int64_t slot = -1;
};

struct NativeRequest {
  CompletionRequest completion;
  Wishes wishes;
};

json token_json(TokenId id, float logprob, const Tokenizer& tokenizer) {
  const std::string_view bytes = tokenizer.bytes_of(id);
  return {{"id", id},
          {"token", openai::shown_bytes(bytes)},
          {"bytes", openai::bytes_json(bytes)},
          {"logprob", openai::finite_logprob(logprob)}};
}

json probabilities(const std::vector<ShownToken>& tokens, const Tokenizer& tokenizer) {
  json list = json::array();
  for (const ShownToken& token : tokens) {
    json one = token_json(token.id, token.logprob, tokenizer);
    one["top_logprobs"] = json::array();
    for (const engine::TokenLogprob& top : token.top) {
      one["top_logprobs"].push_back(token_json(top.token, top.logprob, tokenizer));
    }
    list.push_back(std::move(one));
  }
  return list;
}

double per_second(double n, double ms) { return ms > 0 ? n / ms * 1000 : 0.0; }
double each(double ms, double n) { return n > 0 ? ms / n : 0.0; }

json timings(const ChoiceCounts& counts, uint64_t n_prompt) {
  const uint64_t n_computed = n_prompt - std::min<uint64_t>(n_prompt, counts.cached);
  const auto computed = static_cast<double>(n_computed);
  const double generated = counts.generated;
  return {{"cache_n", counts.cached},
          {"prompt_n", n_computed},  // llama.vim formats both counts with %d: no floats
          {"prompt_ms", counts.prefill_ms},
          {"prompt_per_token_ms", each(counts.prefill_ms, computed)},
          {"prompt_per_second", per_second(computed, counts.prefill_ms)},
          {"predicted_n", counts.generated},
          {"predicted_ms", counts.decode_ms},
          {"predicted_per_token_ms", each(counts.decode_ms, generated)},
          {"predicted_per_second", per_second(generated, counts.decode_ms)},
          {"draft_n", counts.accepted_drafts + counts.rejected_drafts},
          {"draft_n_accepted", counts.accepted_drafts}};
}

const char* stop_type(const Choice& choice) {
  if (!choice.stop().empty()) return "word";
  return choice.finish() == FinishReason::stop ? "eos" : "limit";
}

json settings_json(const CompletionRequest& request) {
  const engine::SamplingParams& sampling = request.sampling;
  return {{"seed", request.seed.value_or(-1)},
          {"temperature", sampling.temperature},
          {"top_k", sampling.top_k},
          {"top_p", sampling.top_p},
          {"min_p", sampling.min_p},
          {"typical_p", sampling.typical_p},
          {"repeat_penalty", sampling.repetition_penalty},
          {"presence_penalty", sampling.presence_penalty},
          {"frequency_penalty", sampling.frequency_penalty},
          {"n_predict", request.until_context ? -1 : static_cast<int64_t>(request.max_tokens)},
          {"ignore_eos", request.ignore_eos},
          {"stop", request.stop},
          {"n_probs", request.logprobs.value_or(0)}};
}

// Only the fields that were asked for, under their whole path: {"timings/prompt_n": 12}.
json filtered(const json& whole, const std::vector<std::string>& wanted) {
  json out = json::object();
  for (const std::string& path : wanted) {
    const json* at = &whole;
    for (size_t from = 0; at != nullptr && from <= path.size();) {
      const size_t end = std::min(path.find('/', from), path.size());
      const std::string name = path.substr(from, end - from);
      at = at->is_object() && at->contains(name) ? &at->at(name) : nullptr;
      from = end + 1;
    }
    if (at != nullptr) out[path] = *at;
  }
  return out;
}

class NativeDialect final : public openai::Dialect {
 public:
  explicit NativeDialect(Wishes wishes) : wishes_(std::move(wishes)) {}

  json answer(Completion& completion) override {
    json all = json::array();
    for (Choice& choice : completion.choices()) {
      const auto tokens = choice.take_tokens();
      std::string text = choice.take_text();
      json one = final_json(completion, choice, std::move(text));
      if (completion.request().logprobs) {
        one["completion_probabilities"] = probabilities(tokens, completion.tokenizer());
      }
      all.push_back(wishes_.filters ? filtered(one, wishes_.response_fields) : std::move(one));
    }
    return all.size() == 1 ? all[0] : all;
  }

  std::vector<json> events(Completion& completion, Choice& choice) override {
    std::vector<json> events;
    const auto tokens = choice.take_tokens();
    std::string text = choice.take_text();
    if (!text.empty() || !tokens.empty()) {
      events.push_back(part_json(completion, choice, std::move(text), tokens));
    }
    if (choice.finished()) {
      json end = final_json(completion, choice, "");
      events.push_back(wishes_.filters ? filtered(end, wishes_.response_fields) : std::move(end));
    }
    return events;
  }

  bool says_done() const override { return false; }

 private:
  json part_json(const Completion& completion, const Choice& choice, std::string text,
                 const std::vector<ShownToken>& tokens) const {
    const ChoiceCounts& counts = choice.counts();
    json part = {{"index", choice.index()},
                 {"content", std::move(text)},
                 {"stop", false},
                 {"id_slot", wishes_.slot},
                 {"tokens_predicted", counts.generated},
                 {"tokens_evaluated", completion.prompt_tokens()}};
    if (completion.request().logprobs) {
      part["completion_probabilities"] = probabilities(tokens, completion.tokenizer());
    }
    if (wishes_.timings_per_token) part["timings"] = timings(counts, completion.prompt_tokens());
    return part;
  }

  json final_json(const Completion& completion, const Choice& choice, std::string text) const {
    const ChoiceCounts& counts = choice.counts();
    const bool broken = text.find('\n') != std::string::npos;
    return {{"index", choice.index()},
            {"content", std::move(text)},
            {"tokens", wishes_.return_tokens ? json(choice.output()) : json::array()},
            {"id_slot", wishes_.slot},
            {"stop", true},
            {"model", completion.served().name},
            {"tokens_predicted", counts.generated},
            {"tokens_evaluated", completion.prompt_tokens()},
            {"tokens_cached", completion.prompt_tokens() + counts.generated},
            {"generation_settings", settings_json(completion.request())},
            {"has_new_line", broken},
            {"truncated", completion.prompt_was_cut()},
            {"stop_type", stop_type(choice)},
            {"stopping_word", choice.stop()},
            {"timings", timings(counts, completion.prompt_tokens())}};
  }

  const Wishes wishes_;
};

void read_response_fields(Fields& fields, Wishes& wishes) {
  const json* list = fields.find("response_fields");
  if (list == nullptr) return;
  const auto is_text = [](const json& name) { return name.is_string(); };
  if (!list->is_array() || list->size() > kMaxResponseFields ||
      !std::all_of(list->begin(), list->end(), is_text)) {
    return fields.refuse("response_fields", *list, "a list of at most 256 strings");
  }
  wishes.response_fields = list->get<std::vector<std::string>>();
  wishes.filters = !wishes.response_fields.empty();
}

// What both routes have in common, with llama.cpp's defaults.
void read_native(Fields& fields, NativeRequest& request) {
  CompletionRequest& wanted = request.completion;
  wanted.sampling.temperature = 0.8F;
  wanted.sampling.top_k = 40;
  wanted.sampling.top_p = 0.95F;
  wanted.sampling.min_p = 0.05F;
  openai::read_common(fields, wanted);
  if (wanted.seed && *wanted.seed == -1) wanted.seed.reset();  // llama.cpp's word for any
  for (const char* name : {"max_tokens", "n_predict"}) {
    if (fields.find(name) == nullptr) continue;
    int64_t n = -1;
    fields.integer(name, -2, 1 << 24, n);
    wanted.until_context = n < 0;
    if (n >= 0) wanted.max_tokens = static_cast<uint32_t>(n);
  }
  std::optional<uint32_t> n_probs;
  fields.integer("n_probs", 0, openai::kMaxLogprobs, n_probs);
  if (n_probs && *n_probs > 0) wanted.logprobs = n_probs;
  fields.integer("n", 1, openai::kMaxChoices, wanted.n);
  fields.integer("n_cmpl", 1, openai::kMaxChoices, wanted.n);
  fields.integer("n_indent", 0, 1 << 16, wanted.min_indent);
  fields.integer("id_slot", -1, INT32_MAX, request.wishes.slot);
  fields.boolean("stream", wanted.stream);
  fields.boolean("return_tokens", request.wishes.return_tokens);
  fields.boolean("timings_per_token", request.wishes.timings_per_token);
  read_response_fields(fields, request.wishes);
  // The reuse of beginnings and the order of filters are not for the client to choose here.
  for (const char* hint : {"cache_prompt", "samplers", "n_keep", "n_cache_reuse", "lora"}) {
    fields.find(hint);
  }
}

// A request that generates nothing warms the cache: its limits of time are not for that.
void lift_limits_of_warm_up(CompletionRequest& request) {
  if (request.max_tokens > 0 || request.until_context) return;
  request.max_prefill.reset();
  request.max_decode.reset();
}

void read_extra_files(Fields& fields, openai::Gap& gap) {
  const json* list = fields.find("input_extra");
  if (list == nullptr) return;
  if (!list->is_array() || list->size() > kMaxExtraFiles) {
    return fields.refuse("input_extra", *list, "a list of at most 1024 objects");
  }
  for (size_t i = 0; i < list->size(); ++i) {
    const std::string where = "input_extra[" + std::to_string(i) + "]";
    const json& file = (*list)[i];
    if (!file.is_object()) return fields.refuse(where, file, "{\"text\", \"filename\"}");
    const json text = file.value("text", json());
    const json name = file.value("filename", json(""));
    if (!text.is_string()) return fields.refuse(where + ".text", text, "a string");
    if (!name.is_string()) return fields.refuse(where + ".filename", name, "a string");
    gap.files.push_back({name.get<std::string>(), text.get<std::string>()});
  }
}

Result<NativeRequest> parse_infill(const json& body, std::string_view body_text) {
  Fields fields(body);
  NativeRequest request;
  openai::Gap gap{.prefix = {}, .suffix = {}, .files = {}, .may_cut = true};
  for (const char* name : {"input_prefix", "input_suffix"}) {
    if (fields.find(name) != nullptr) continue;
    return Error{ErrorCode::invalid_argument,
                 std::string(name) + " is missing; send the text " +
                     (name[6] == 'p' ? "before" : "after") + " the gap",
                 name};
  }
  std::string typed;
  fields.text("input_prefix", [&](std::string text) { gap.prefix = std::move(text); });
  fields.text("input_suffix", [&](std::string text) { gap.suffix = std::move(text); });
  fields.text("prompt", [&](std::string text) { typed = std::move(text); });
  read_extra_files(fields, gap);
  request.completion.until_context = true;
  read_native(fields, request);
  request.completion.grammar = openai::read_output_form(fields, body_text);
  gap.prefix += typed;
  CompletionRequest& wanted = request.completion;
  wanted.gap = std::move(gap);
  if (wanted.session.empty() && request.wishes.slot >= 0) {
    wanted.session = "slot " + std::to_string(request.wishes.slot);
  }
  if (auto done = openai::finish_reading(fields, wanted); !done) return done.error();
  if (auto done = openai::check_together(wanted, false); !done) return done.error();
  lift_limits_of_warm_up(wanted);
  return request;
}

Result<NativeRequest> parse_completion(const json& body, std::string_view text) {
  Fields fields(body);
  NativeRequest request;
  CompletionRequest& wanted = request.completion;
  openai::read_prompts(fields, "prompt", wanted.prompts);
  wanted.until_context = true;
  read_native(fields, request);
  openai::read_prediction(fields, wanted);
  wanted.grammar = openai::read_output_form(fields, text);
  if (auto done = openai::finish_reading(fields, wanted); !done) return done.error();
  if (auto done = openai::check_together(wanted, false); !done) return done.error();
  lift_limits_of_warm_up(wanted);
  return request;
}

using Parse = Result<NativeRequest> (*)(const json& body, std::string_view text);

http::Response handle(const http::Request& from, openai::Services& services, Parse parse) {
  if (auto too_large = openai::refusal_of_size(from)) return *too_large;
  const auto body = openai::parse_object(from.body);
  if (!body) return openai::refusal_of_body(body.error());
  auto request = parse(*body, from.body);
  if (!request) return openai::refusal_of_body(request.error());
  auto served = services.registry.find(request->completion.model);
  if (!served) return openai::refusal(served.error());
  return openai::respond(from, std::move(request->completion), *served,
                         std::make_unique<NativeDialect>(std::move(request->wishes)), services);
}

}  // namespace

void add_llama_cpp_routes(http::Router& router, openai::Services& services) {
  const auto add = [&](const char* path, Parse parse) {
    router.add("POST", path, [&services, parse](const http::Request& request) {
      return handle(request, services, parse);
    });
  };
  add("/infill", parse_infill);
  add("/completion", parse_completion);
}

}  // namespace tristill::compat
