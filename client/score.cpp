// tristill score: how likely a model finds texts, from /v1/score.
#include "client/score.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <optional>

#include "base/atomic_file.h"
#include "client/commands.h"
#include "client/fields.h"

namespace tristill::client {
namespace {

constexpr uint32_t kTraceLogprobs = 32;

struct ScoreOptions {
  std::string text;
  std::vector<std::string> files;
  std::string traces;
  std::optional<uint32_t> top_logprobs, logprob_draws;
  std::optional<int64_t> seed;
};

struct Prompt {
  std::string name;  // of the file; empty for the argument
  std::string text;
};

std::vector<Prompt> prompts_of(const ScoreOptions& options) {
  if (options.files.empty()) return {{"", read_text(options.text, "", "text")}};
  if (!options.text.empty()) {
    throw Failure(kExitUsage, "give the text or --file, not both", "text");
  }
  std::vector<Prompt> prompts;
  for (const std::string& file : options.files) {
    prompts.push_back({file, read_input(file, "file")});
    require_utf8(prompts.back().text, "file");
  }
  return prompts;
}

// Traces that are written whole or not at all; nothing without a path.
class TraceFile {
 public:
  explicit TraceFile(const std::string& path) {
    if (path.empty()) return;
    auto file = AtomicFile::create(path);
    require(file);
    file_.emplace(std::move(*file));
  }

  void add(const Json& record) {
    if (file_) require(file_->append(json_line(trace_of(record)) + "\n"));
  }
  void commit() {
    if (file_) require(file_->commit());
  }

 private:
  template <class T>
  static void require(const Result<T>& result) {
    if (result) return;
    throw Failure(exit_code(result.error().code), result.error().message, "traces");
  }
  std::optional<AtomicFile> file_;
};

std::string decimals(double value, int places) {
  char text[64] = "";
  std::snprintf(text, sizeof text, "%.*f", places, value);
  return text;
}

std::vector<std::string> row_of(const std::string& name, const Score& score) {
  return {name,
          std::to_string(score.tokens),
          std::to_string(score.scored_tokens),
          std::to_string(score.bytes),
          decimals(score.log_likelihood, 4),
          decimals(score.perplexity(), 4),
          decimals(score.bits_per_byte(), 4)};
}

Json json_of(const std::string& name, const Score& score) {
  return {{"file", name.empty() ? Json(nullptr) : Json(name)},
          {"tokens", score.tokens},
          {"scored_tokens", score.scored_tokens},
          {"scored_bytes", score.bytes},
          {"log_likelihood", score.log_likelihood},
          {"perplexity", score.perplexity()},
          {"bits_per_byte", score.bits_per_byte()}};
}

void print_scores(Output& out, const std::vector<Prompt>& prompts,
                  const std::vector<Score>& scores) {
  Score sum;
  for (const Score& score : scores) sum += score;
  if (out.json()) {
    Json data = Json::array();
    for (size_t i = 0; i < scores.size(); ++i) data.push_back(json_of(prompts[i].name, scores[i]));
    out.object({{"object", "list"}, {"data", data}, {"total", json_of("", sum)}});
    return;
  }
  if (scores.size() == 1) {
    const Score& one = scores.front();
    out.text(format_fields({{"tokens", std::to_string(one.tokens)},
                            {"scored tokens", std::to_string(one.scored_tokens)},
                            {"scored bytes", std::to_string(one.bytes)},
                            {"log-likelihood", decimals(one.log_likelihood, 4)},
                            {"perplexity", decimals(one.perplexity(), 4)},
                            {"bits per byte", decimals(one.bits_per_byte(), 4)}}));
    return;
  }
  std::vector<std::vector<std::string>> rows;
  for (size_t i = 0; i < scores.size(); ++i) rows.push_back(row_of(prompts[i].name, scores[i]));
  rows.push_back(row_of("total", sum));
  out.text(format_table(
      {"FILE", "TOKENS", "SCORED", "BYTES", "LOG-LIKELIHOOD", "PERPLEXITY", "BITS/BYTE"}, rows));
}

std::string text_of_tokens(Session& session, const Json& tokens) {
  if (tokens.empty()) return "";
  Json request = {{"tokens", tokens}};
  write_model(session, request);
  return text_of(session.api.post("/detokenize", request), "content");
}

ExitCode score(Session& session, const ScoreOptions& options) {
  const std::vector<Prompt> prompts = prompts_of(options);
  Json request = {{"prompt", Json::array()}};
  for (const Prompt& prompt : prompts) request["prompt"].push_back(prompt.text);
  if (options.logprob_draws) {
    request["logprob_draws"] = *options.logprob_draws;
    if (options.seed) request["seed"] = *options.seed;
  } else {
    request["top_logprobs"] =
        options.top_logprobs.value_or(options.traces.empty() ? 0 : kTraceLogprobs);
  }
  write_model(session, request);
  TraceFile traces(options.traces);
  std::vector<Score> scores;
  std::vector<Json> unscored;
  session.api.post_lines("/v1/score", request, [&](const Json& record) {
    if (field_of(record, "error").is_object()) throw failure_of(500, record.dump());
    if (!field_of(record, "token_logprobs").is_array() || scores.size() == prompts.size()) {
      throw Failure(kExitUnavailable, "the daemon answers something else than scores");
    }
    scores.push_back(score_of(record));
    unscored.push_back(unscored_of(record));
    traces.add(record);
  });
  if (scores.size() != prompts.size()) {
    throw Failure(kExitUnavailable, "the daemon answered " + std::to_string(scores.size()) +
                                        " scores for " + std::to_string(prompts.size()) + " texts");
  }
  for (size_t i = 0; i < scores.size(); ++i) {
    const std::string& text = prompts[i].text;
    scores[i].bytes = text.size() - unscored_bytes(text, text_of_tokens(session, unscored[i]),
                                                   unscored[i].size());
  }
  traces.commit();
  print_scores(session.out, prompts, scores);
  return kExitOk;
}

}  // namespace

double Score::perplexity() const {
  if (scored_tokens == 0) return 0;
  return std::exp(-log_likelihood / static_cast<double>(scored_tokens));
}

double Score::bits_per_byte() const {
  if (bytes == 0) return 0;
  return -log_likelihood / (std::numbers::ln2 * static_cast<double>(bytes));
}

Score score_of(const Json& record) {
  Score score;
  for (const Json& logprob : list_of(record, "token_logprobs")) {
    ++score.tokens;
    if (!logprob.is_number()) continue;
    ++score.scored_tokens;
    score.log_likelihood += logprob.get<double>();
  }
  return score;
}

Json unscored_of(const Json& record) {
  const Json& tokens = list_of(record, "tokens");
  Json unscored = Json::array();
  for (const Json& logprob : list_of(record, "token_logprobs")) {
    if (logprob.is_number() || unscored.size() == tokens.size()) break;
    unscored.push_back(tokens[unscored.size()]);
  }
  return unscored;
}

uint64_t unscored_bytes(std::string_view text, std::string_view own_text, size_t tokens) {
  return text.starts_with(own_text) ? own_text.size() : std::min(tokens, text.size());
}

Score& operator+=(Score& sum, const Score& score) {
  sum.tokens += score.tokens;
  sum.scored_tokens += score.scored_tokens;
  sum.bytes += score.bytes;
  sum.log_likelihood += score.log_likelihood;
  return sum;
}

Json trace_of(const Json& record) {
  Json trace = Json::object();
  for (const char* key :
       {"tokenizer", "teacher", "sampling", "prompt_tokens", "tokens", "top_logprobs", "text"}) {
    if (const Json& value = field_of(record, key); !value.is_null()) trace[key] = value;
  }
  return trace;
}

void add_score_command(CLI::App& app, Plan& plan) {
  auto options = std::make_shared<ScoreOptions>();
  CLI::App* command = app.add_subcommand("score", "Say how likely a model finds a text");
  command->add_option("text", options->text, "The text; - or nothing reads standard input");
  command->add_option("--file", options->files, "File to score; may be repeated")
      ->type_name("PATH")
      ->expected(1)
      ->take_all()
      ->allow_extra_args(false);
  command
      ->add_option("--traces", options->traces,
                   "Write what the model predicts as lines that tristill traces upload takes")
      ->type_name("PATH");
  auto* likeliest = command
                        ->add_option("--top-logprobs", options->top_logprobs,
                                     "Likeliest tokens in a trace, 0 to 64; default 32")
                        ->check(within(0, 64));
  auto* draws = command
                    ->add_option("--logprob-draws", options->logprob_draws,
                                 "Instead: random draws from what the model predicts, 1 to 64")
                    ->check(within(1, 64))
                    ->excludes(likeliest);
  command->add_option("--seed", options->seed, "Of the draws")->needs(draws);
  add_model_flag(*command, plan);
  command->callback([options, &plan] {
    plan.action = [options](Session& session) { return score(session, *options); };
  });
}

}  // namespace tristill::client
