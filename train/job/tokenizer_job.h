// What a job of kind "tokenizer" is told to do: train a SentencePiece model on corpora, so that
// many train jobs can share it (tokenizer.from_job). Pure; any thread.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "base/result.h"
#include "train/job/data_spec.h"

namespace tristill::job {

struct TokenizerJob {
  std::string name;
  TokenizerSpec tokenizer;  // vocab_size
  DataSpec data;            // corpora; of data's other fields those that say which files count
};

// Errors: invalid_argument with the field's path; the "kind" key must be "tokenizer".
Result<TokenizerJob> read_tokenizer_job(const nlohmann::json& object);
nlohmann::json tokenizer_job_json(const TokenizerJob& job);

}  // namespace tristill::job
