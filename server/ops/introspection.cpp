#include "server/ops/introspection.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>

#include "server/http/error.h"
#include "server/http/json.h"

namespace tristill::ops {
namespace {

using nlohmann::json;

json piece_or_null(const Tokenizer& tokenizer, TokenId token) {
  return token == kNoToken ? json() : json(tokenizer.piece_of(token));
}

// The model's own template where it is the one in use: of others the text is not known here.
json chat_template_of(const models::ServedModel& served) {
  const bool is_own = served.chat_template && (*served.chat_template)->name() == "model";
  return is_own ? json(served.model->chat_template) : json();
}

// What a completion does that names none of these; llama.cpp's names.
json default_params() {
  const SamplingParams sampling;
  return {{"n_predict", 16},
          {"seed", -1},
          {"temperature", sampling.temperature},
          {"top_k", sampling.top_k},
          {"top_p", sampling.top_p},
          {"min_p", sampling.min_p},
          {"repeat_penalty", sampling.repetition_penalty},
          {"presence_penalty", sampling.presence_penalty},
          {"frequency_penalty", sampling.frequency_penalty},
          {"stop", json::array()},
          {"stream", false}};
}

json props(const models::ServedModel& served) {
  const Tokenizer& tokenizer = *served.model->tokenizer;
  return {{"default_generation_settings",
           {{"n_ctx", served.engine->max_context()}, {"params", default_params()}}},
          {"total_slots", served.options.max_sequences},
          {"model_alias", served.name},
          {"model_path", served.path.filename().string()},
          {"bos_token", piece_or_null(tokenizer, tokenizer.special().bos)},
          {"eos_token", piece_or_null(tokenizer, tokenizer.special().eos)},
          {"chat_template", chat_template_of(served)},
          {"modalities", {{"vision", false}, {"audio", false}}},
          {"deterministic", true},
          {"build_info", "tristill-" TRISTILL_VERSION}};
}

// SentencePiece adds no token to a text here, so none of both is added.
json tokenizer_info(const models::ServedModel& served) {
  const Tokenizer& tokenizer = *served.model->tokenizer;
  const SpecialTokens& special = tokenizer.special();
  json added = json::object();
  for (const TokenId token : {special.bos, special.eos, special.unk, special.fim_prefix,
                              special.fim_suffix, special.fim_middle, special.file_sep}) {
    if (token == kNoToken) continue;
    added[std::to_string(token)] = {{"content", tokenizer.piece_of(token)}, {"special", true}};
  }
  return {{"tokenizer_class", "sentencepiece"},
          {"model", served.name},
          {"vocab_size", tokenizer.vocab_size()},
          {"model_max_length", served.engine->max_context()},
          {"add_bos_token", false},
          {"add_eos_token", false},
          {"bos_token", piece_or_null(tokenizer, special.bos)},
          {"eos_token", piece_or_null(tokenizer, special.eos)},
          {"unk_token", piece_or_null(tokenizer, special.unk)},
          {"pad_token", nullptr},
          {"chat_template", chat_template_of(served)},
          {"added_tokens_decoder", added},
          {"fingerprint", tokenizer.fingerprint()}};
}

http::Response slots(const http::Request& request, const models::ServedModel& served) {
  const auto running = served.engine->running();
  const auto asked = request.query.find("fail_on_no_slot");
  const bool needs_one = asked != request.query.end() && asked->second == "1";
  if (needs_one && running.size() >= served.options.max_sequences) {
    return http::error_response(503, "", "no slot is free", "", "no_slot_available");
  }
  return http::json_response(slots_json(served, running));
}

}  // namespace

json slots_json(const models::ServedModel& served, std::span<const engine::RunningView> running) {
  json all = json::array();
  for (uint32_t place = 0; place < served.options.max_sequences; ++place) {
    all.push_back({{"id", place},
                   {"model", served.name},
                   {"n_ctx", served.engine->max_context()},
                   {"speculative", served.options.draft_tokens > 0},
                   {"is_processing", false}});
  }
  for (const engine::RunningView& view : running) {
    if (view.place >= all.size()) continue;
    const uint32_t n_remain = view.max_tokens - std::min(view.max_tokens, view.n_output);
    json& slot = all[view.place];
    slot["is_processing"] = true;
    slot["n_prompt_tokens"] = view.n_prompt;
    slot["n_prompt_tokens_processed"] = view.n_prompt_done;
    slot["next_token"] = {
        {"has_next_token", n_remain > 0}, {"n_remain", n_remain}, {"n_decoded", view.n_output}};
  }
  return all;
}

void add_introspection_routes(http::Router& router, const models::Registry& registry) {
  const auto add = [&](const char* path, auto answer) {
    router.add("GET", path, [&registry, answer](const http::Request& request) {
      const auto given = request.query.find("model");
      const auto served = registry.find(given == request.query.end() ? "" : given->second);
      if (served) return answer(request, **served);
      return http::error_response(404, "invalid_request_error", served.error().message, "model",
                                  "model_not_found");
    });
  };
  using models::ServedModel;
  add("/props", [](const http::Request&, const ServedModel& served) {
    return http::json_response(props(served));
  });
  add("/tokenizer_info", [](const http::Request&, const ServedModel& served) {
    return http::json_response(tokenizer_info(served));
  });
  add("/slots", slots);
  router.add("GET", "/version", [](const http::Request&) {
    return http::json_response({{"version", TRISTILL_VERSION}});
  });
}

}  // namespace tristill::ops
