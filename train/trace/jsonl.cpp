#include "train/trace/jsonl.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "train/job/fields.h"
#include "train/trace/fingerprint.h"

namespace tristill::trace {
namespace {

using nlohmann::json;

constexpr int64_t kMaxToken = INT32_MAX;
constexpr double kLeastLogprob = -1e30;  // fits a float
constexpr double kLogprobSlack = 1e-4;  // rounding of a teacher's certainty
constexpr double kMassSlack = 1e-3;  // rounding of a teacher's log-probabilities

Error bad(const std::string& param, const std::string& accepted) {
  return {ErrorCode::invalid_argument, param + " is not accepted; give " + accepted, param};
}

bool is_token(const json& value) {
  return value.is_number_integer() && value.get<int64_t>() >= 0 &&
         value.get<int64_t>() <= kMaxToken;
}

// One position: null, or up to kMaxTopLogprobs pairs of an id and its log-probability.
Result<std::vector<TopLogprob>> read_position(const json& value, const std::string& where) {
  std::vector<TopLogprob> list;
  if (value.is_null()) return list;
  if (!value.is_array() || value.size() > kMaxTopLogprobs) {
    return bad(where, "null or at most 64 pairs [id, logprob]");
  }
  double mass = 0;
  for (size_t i = 0; i < value.size(); ++i) {
    const json& pair = value[i];
    const std::string at = where + "[" + std::to_string(i) + "]";
    const bool ok = pair.is_array() && pair.size() == 2 && is_token(pair[0]) && pair[1].is_number();
    if (!ok) return bad(at, "a pair [id, logprob]");
    const auto token = pair[0].get<int32_t>();
    const auto logprob = pair[1].get<double>();
    if (!(logprob >= kLeastLogprob && logprob <= kLogprobSlack)) {
      return bad(at, "a logprob from -1e30 to 0");
    }
    const bool seen = std::ranges::any_of(list, [&](const auto& e) { return e.token == token; });
    if (seen) return bad(at, "distinct ids");
    mass += std::exp(logprob);
    list.push_back({token, static_cast<float>(std::min(logprob, 0.0))});
  }
  if (mass > 1 + kMassSlack) return bad(where, "probabilities that sum to at most 1");
  return list;
}

Result<void> read_tokens(const json& object, Record& record) {
  const auto tokens = object.find("tokens");
  if (tokens == object.end() || !tokens->is_array() || tokens->empty() ||
      tokens->size() > kMaxRecordTokens) {
    return bad("tokens", "a list of 1 to 1048576 token ids");
  }
  for (size_t i = 0; i < tokens->size(); ++i) {
    if (!is_token((*tokens)[i])) return bad("tokens[" + std::to_string(i) + "]", "a token id");
    record.tokens.push_back((*tokens)[i].get<int32_t>());
  }
  record.top_logprobs.resize(record.tokens.size());
  const auto top = object.find("top_logprobs");
  if (top == object.end() || top->is_null()) return {};
  if (!top->is_array() || top->size() != record.tokens.size()) {
    return bad("top_logprobs", "one entry a token");
  }
  for (size_t i = 0; i < top->size(); ++i) {
    auto position = read_position((*top)[i], "top_logprobs[" + std::to_string(i) + "]");
    if (!position) return position.error();
    record.top_logprobs[i] = std::move(*position);
  }
  return {};
}

}  // namespace

Result<Record> parse_record(std::string_view line) {
  const auto object = job::parse_json_object(line);
  if (!object) return object.error();
  job::Fields fields(*object, "");
  Record record;
  std::string text;
  fields.text("tokenizer", record.tokenizer);
  fields.require("tokenizer");
  fields.text("teacher", record.teacher);
  fields.text("text", text);
  fields.choice<Sampling>(
      "sampling",
      {{"corpus", Sampling::corpus}, {"greedy", Sampling::greedy}, {"t1", Sampling::t1}},
      record.sampling);
  fields.require("sampling");
  fields.whole("prompt_tokens", 0, kMaxRecordTokens, record.prompt_tokens);
  fields.raw("tokens");
  fields.raw("top_logprobs");
  // POST /v1/score says them for readers; what is listed implies them.
  fields.raw("token_logprobs");
  fields.raw("other_logprobs");
  fields.finish();
  if (fields.failed()) return fields.error();
  if (!is_fingerprint(record.tokenizer)) return bad("tokenizer", "64 lower-case hex digits");
  if (record.teacher.size() > 256) return bad("teacher", "at most 256 bytes");
  if (auto ok = read_tokens(*object, record); !ok) return ok.error();
  if (record.prompt_tokens > record.tokens.size())
    return bad("prompt_tokens", "at most the number of tokens");
  return record;
}

std::string format_record(const Record& record) {
  json top = json::array();
  for (const auto& position : record.top_logprobs) {
    if (position.empty()) {
      top.push_back(nullptr);
      continue;
    }
    json list = json::array();
    for (const TopLogprob& entry : position) list.push_back({entry.token, entry.logprob});
    top.push_back(std::move(list));
  }
  const char* sampling = record.sampling == Sampling::corpus   ? "corpus"
                         : record.sampling == Sampling::greedy ? "greedy"
                                                               : "t1";
  const json line = {{"tokenizer", record.tokenizer}, {"teacher", record.teacher},
                     {"sampling", sampling},          {"prompt_tokens", record.prompt_tokens},
                     {"tokens", record.tokens},       {"top_logprobs", top}};
  return line.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace tristill::trace
