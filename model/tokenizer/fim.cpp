#include "model/tokenizer/tokenizer.h"

namespace tristill {

Result<std::vector<TokenId>> fim_prompt(const Tokenizer& tokenizer, std::string_view prefix,
                                        std::string_view suffix) {
  const SpecialTokens& special = tokenizer.special();
  if (!special.has_fim()) {
    return Error{ErrorCode::invalid_argument,
                 "this model has no fill-in-the-middle tokens; leave suffix out", "suffix"};
  }
  std::vector<TokenId> ids = {special.fim_prefix};
  const auto before = tokenizer.encode(prefix);
  const auto after = tokenizer.encode(suffix);
  ids.insert(ids.end(), before.begin(), before.end());
  ids.push_back(special.fim_suffix);
  ids.insert(ids.end(), after.begin(), after.end());
  ids.push_back(special.fim_middle);
  return ids;
}

}  // namespace tristill
