// OutputGrammars: the grammars that outputs of one model keep to. For the engine's thread.
#pragma once

#include <memory>

#include "model/engine/engine.h"
#include "model/grammar/grammar_state.h"
#include "model/weights.h"

namespace tristill::engine {

class OutputGrammars {
 public:
  explicit OutputGrammars(std::shared_ptr<const Tokenizer> tokenizer)
      : tokenizer_(std::move(tokenizer)) {}

  // Error invalid_argument (param "grammar") where a grammar is wanted and there is no tokenizer.
  // Any thread.
  Result<void> check(const GenerationRequest& request) const;
  // The state of an output before its first token; null where any text will do.
  std::unique_ptr<GrammarState> begin(const GenerationRequest& request);

 private:
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::shared_ptr<const TokenTrie> trie_;  // null until the first grammar comes
};

}  // namespace tristill::engine
