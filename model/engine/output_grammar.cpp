#include "model/engine/output_grammar.h"

#include "model/grammar/token_trie.h"

namespace tristill::engine {

Result<void> OutputGrammars::check(const GenerationRequest& request) const {
  if (request.grammar == nullptr || tokenizer_ != nullptr) return {};
  return Error{ErrorCode::invalid_argument, "the model has no tokenizer: it can keep no grammar",
               "grammar"};
}

std::unique_ptr<GrammarState> OutputGrammars::begin(const GenerationRequest& request) {
  if (request.grammar == nullptr) return nullptr;
  if (trie_ == nullptr) trie_ = std::make_shared<TokenTrie>(tokenizer_);
  std::vector<TokenId> ends = request.stop_tokens;
  if (!request.ignore_eos) ends.push_back(tokenizer_->special().eos);
  return std::make_unique<GrammarState>(request.grammar, trie_, std::move(ends));
}

}  // namespace tristill::engine
