// The flags that choose how a model writes: one set for complete, chat and infill. One thread.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace tristill::client {

// Whose names the fields have: of OpenAI's routes, or of llama.cpp's.
enum class FieldNames { openai, llama_cpp };

struct SamplingFlags {
  uint32_t max_tokens = 0;
  std::optional<double> temperature, top_p, min_p;
  std::optional<uint32_t> top_k;
  std::optional<double> repetition_penalty, frequency_penalty, presence_penalty;
  std::optional<int64_t> seed;
  std::vector<std::string> stop;
};

// max_tokens is the default that the help names. The flags live as long as the command.
void add_sampling_flags(CLI::App& command, SamplingFlags& flags, uint32_t max_tokens);

// Writes the fields that were given into a request.
void write_sampling(const SamplingFlags& flags, FieldNames names, nlohmann::json& request);

}  // namespace tristill::client
