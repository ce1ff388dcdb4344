#include "client/sampling.h"

#include "client/commands.h"

namespace tristill::client {

void add_sampling_flags(CLI::App& command, SamplingFlags& flags, uint32_t max_tokens) {
  flags.max_tokens = max_tokens;
  command.add_option("--max-tokens", flags.max_tokens, "Most tokens to write")
      ->capture_default_str();
  command.add_option("--temperature", flags.temperature, "0 (greedy) to 2")
      ->check(within(0.0, 2.0));
  command.add_option("--top-p", flags.top_p, "Likeliest tokens of this much probability, 0 to 1")
      ->check(within(0.0, 1.0));
  command.add_option("--top-k", flags.top_k, "Likeliest tokens by count; 0 is off");
  command.add_option("--min-p", flags.min_p, "Least probability relative to the likeliest, 0 to 1")
      ->check(within(0.0, 1.0));
  command
      .add_option("--repetition-penalty", flags.repetition_penalty,
                  "Over 1: tokens that are there already are less likely, 0.01 to 100")
      ->check(within(0.01, 100.0));
  command
      .add_option("--frequency-penalty", flags.frequency_penalty,
                  "The same by how often they are there, -2 to 2")
      ->check(within(-2.0, 2.0));
  command
      .add_option("--presence-penalty", flags.presence_penalty,
                  "The same once they are there, -2 to 2")
      ->check(within(-2.0, 2.0));
  command.add_option("--seed", flags.seed, "Same seed, same text");
  command.add_option("--stop", flags.stop, "Text that ends the answer; may be repeated")
      ->expected(1)
      ->take_all()
      ->allow_extra_args(false);
}

void write_sampling(const SamplingFlags& flags, FieldNames names, nlohmann::json& request) {
  const bool openai = names == FieldNames::openai;
  const auto put = [&](const char* name, const auto& value) {
    if (value) request[name] = *value;
  };
  request[openai ? "max_tokens" : "n_predict"] = flags.max_tokens;
  put("temperature", flags.temperature);
  put("top_p", flags.top_p);
  put("top_k", flags.top_k);
  put("min_p", flags.min_p);
  put(openai ? "repetition_penalty" : "repeat_penalty", flags.repetition_penalty);
  put("frequency_penalty", flags.frequency_penalty);
  put("presence_penalty", flags.presence_penalty);
  put("seed", flags.seed);
  if (!flags.stop.empty()) request["stop"] = flags.stop;
}

}  // namespace tristill::client
