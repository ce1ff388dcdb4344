// Fill-in-the-middle (Bavarian et al. 2022): a piece of a document is cut at two random
// characters into prefix, middle and suffix and put in PSM or SPM order, each part tokenised on
// its own, as a client's request will be. Pure.
//   PSM  <fim_prefix> P <fim_suffix> S <fim_middle> M <eos>
//   SPM  <fim_prefix> <fim_suffix> S <fim_middle> P M <eos>
#pragma once

#include <string_view>
#include <vector>

#include "base/random.h"
#include "model/tokenizer/tokenizer.h"

namespace tristill::train {

enum class FimOrder { psm, spm };

constexpr size_t kFimControlTokens = 4;  // prefix, suffix, middle, end

// At most max_tokens tokens: the suffix is shortened at its end, then the prefix at its start.
// The middle's length is log-uniform in characters, at most half of the text. Empty when the
// tokenizer has no such tokens, the text is shorter than 2 characters or the middle alone is
// too long.
std::vector<TokenId> fim_tokens(const Tokenizer& tokenizer, std::string_view text, FimOrder order,
                                size_t max_tokens, RandomStream& random);

}  // namespace tristill::train
