// tristill-edit-replay: what drafts from the text itself are worth on code edits. The text that a
// model would say is given (bench/edits.py): every step computes what the engine's would, and a
// guess is right where the given text goes on so. Prints seconds with and without drafts, in turns.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/exit_code.h"
#include "base/seconds_since.h"
#include "bench/random_model.h"
#include "model/backend.h"
#include "model/engine/drafts.h"

namespace tristill::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr uint32_t kStepRows = 12;  // as the engine's drafts of one sequence

struct Options {
  std::string edits;
  std::string tokenizer_model;
  std::string model;
  std::string shape = "100m";
  uint32_t threads = 1;
  uint32_t draft_tokens = 10;
  uint32_t repetitions = 7;
};

struct Edit {
  std::vector<TokenId> prompt, output;
};

std::vector<Edit> read_edits(const Options& options, const Tokenizer& tokenizer) {
  std::ifstream file(options.edits);
  std::vector<Edit> edits;
  for (std::string line; std::getline(file, line);) {
    const auto edit = nlohmann::json::parse(line);
    edits.push_back({tokenizer.encode(edit.at("prompt").get<std::string>()),
                     tokenizer.encode(edit.at("output").get<std::string>())});
  }
  if (edits.empty()) throw std::runtime_error("no edits in " + options.edits);
  return edits;
}

struct Outcome {
  double seconds = 0;
  size_t tokens = 0, steps = 0, guessed = 0, right = 0;
  void add(const Outcome& other) {
    seconds += other.seconds;
    tokens += other.tokens;
    steps += other.steps;
    guessed += other.guessed;
    right += other.right;
  }
};

class Replay {
 public:
  Replay(std::shared_ptr<const Model> model, uint32_t threads)
      : team_(threads),
        cache_(model->config, kv_blocks_for(model->config.max_context)),
        backend_(make_backend(Device::cpu, model, cache_, team_, model->config.max_context)),
        max_context_(model->config.max_context) {
    while (cache_.n_free() > 0) blocks_.push_back(cache_.acquire());
  }

  // The edit's output, token by token or with drafts. Only generating is timed.
  Outcome run(const Edit& edit, uint32_t draft_tokens) {
    std::vector<TokenId> text = edit.prompt;
    if (text.size() + edit.output.size() + kStepRows > max_context_) return {};
    const Segment prompt[] = {{text, 0, blocks_}};
    backend_->forward(prompt);
    engine::Drafter drafter(draft_tokens, {});
    Outcome outcome{.tokens = edit.output.size()};
    text.push_back(edit.output.front());  // of the prompt's last row
    const auto start = Clock::now();
    for (size_t said = 1; said < edit.output.size();) {
      const auto left = static_cast<uint32_t>(edit.output.size() - said);
      const auto guess = drafter.guess(text, static_cast<uint32_t>(edit.prompt.size()),
                                       std::min(left, kStepRows) - 1);
      const uint32_t right = step(text, guess, edit.output, said);
      drafter.learn(static_cast<uint32_t>(guess.size()), right);
      outcome.guessed += guess.size();
      outcome.right += right;
      ++outcome.steps;
    }
    outcome.seconds = seconds_since(start);
    return outcome;
  }

 private:
  // One step: the last token and the guess; how much of the guess was right.
  uint32_t step(std::vector<TokenId>& text, std::span<const TokenId> guess,
                const std::vector<TokenId>& output, size_t& said) {
    std::vector<TokenId> tokens{text.back()};
    tokens.insert(tokens.end(), guess.begin(), guess.end());
    const Segment segment[] = {{tokens, static_cast<uint32_t>(text.size()) - 1, blocks_}};
    backend_->forward(segment);
    rows_.resize(tokens.size());
    for (uint32_t i = 0; i < rows_.size(); ++i) rows_[i] = i;
    backend_->greatest(rows_);
    uint32_t right = 0;
    while (right < guess.size() && guess[right] == output[said + right]) ++right;
    for (uint32_t i = 0; i <= right; ++i) text.push_back(output[said++]);
    return right;
  }

  ThreadTeam team_;
  KvCache cache_;
  std::unique_ptr<Backend> backend_;
  const uint32_t max_context_;
  std::vector<KvBlockId> blocks_;
  std::vector<uint32_t> rows_;
};

int run(const Options& options) {
  const auto named = load_model(options.tokenizer_model);
  if (!named) throw std::runtime_error(named.error().message);
  const auto model = open_model(options.model, options.shape);
  if (!model) throw std::runtime_error(model.error().message);
  const auto edits = read_edits(options, *(*named)->tokenizer);
  Replay replay(*model, options.threads);
  std::vector<double> ratios;
  Outcome with, without;
  for (uint32_t r = 0; r < options.repetitions; ++r) {
    Outcome guessed, plain;
    for (const Edit& edit : edits) {
      plain.add(replay.run(edit, 0));
      guessed.add(replay.run(edit, options.draft_tokens));
    }
    ratios.push_back(plain.seconds / guessed.seconds);
    with.add(guessed);
    without.add(plain);
  }
  std::sort(ratios.begin(), ratios.end());
  const auto speed = [](const Outcome& o) { return static_cast<double>(o.tokens) / o.seconds; };
  std::printf(
      "%zu edits, %zu tokens: %.0f tokens/s without drafts, %.0f with: %.2fx (%.2f to %.2f)\n",
      edits.size(), with.tokens / options.repetitions, speed(without), speed(with),
      ratios[ratios.size() / 2], ratios.front(), ratios.back());
  std::printf("%.2f tokens a step, %.0f %% of the guessed tokens right\n",
              static_cast<double>(with.tokens) / static_cast<double>(with.steps),
              100.0 * static_cast<double>(with.right) / static_cast<double>(with.guessed));
  return kExitOk;
}

}  // namespace
}  // namespace tristill::bench

int main(int argc, char** argv) {
  tristill::bench::Options options;
  CLI::App app("What drafts are worth on code edits");
  app.add_option("edits", options.edits, "JSON Lines of bench/edits.py")->required();
  app.add_option("--tokenizer-model", options.tokenizer_model, "model file that cuts the text")
      ->required();
  app.add_option("-m,--model", options.model, "model file to compute; without it, random weights");
  app.add_option("--shape", options.shape, "of the random weights")
      ->check(CLI::IsMember({"100m", "700m", "2b"}));
  app.add_option("-t,--threads", options.threads, "threads")->check(CLI::Range(1, 1024));
  app.add_option("--draft-tokens", options.draft_tokens, "most guessed in a step")
      ->check(CLI::Range(1, 64));
  app.add_option("-r,--repetitions", options.repetitions, "runs; the median is shown")
      ->check(CLI::Range(1, 1000));
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? tristill::kExitOk : tristill::kExitUsage;
  }
  try {
    return tristill::bench::run(options);
  } catch (const std::exception& failure) {
    std::fprintf(stderr, "tristill-edit-replay: %s\n", failure.what());
    return tristill::kExitDefect;
  }
}
