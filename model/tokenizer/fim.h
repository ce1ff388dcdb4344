// Fill in the middle: the prompt that asks a model for what is missing between two texts.
// Plain functions; any thread.
#pragma once

#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/tokenizer/tokenizer.h"

namespace tristill {

// PSM prompt (Bavarian et al. 2022): <fim_prefix> P <fim_suffix> S <fim_middle>.
// invalid_argument with param "suffix" when the model has no such tokens.
Result<std::vector<TokenId>> fim_prompt(const Tokenizer& tokenizer, std::string_view prefix,
                                        std::string_view suffix);

// What surrounds the gap. Context is text of other files, of which the last is the most wanted.
struct FimSurroundings {
  std::string_view prefix, suffix;
  std::vector<std::string_view> context;
};

struct FimPrompt {
  std::vector<TokenId> ids;
  bool was_cut = false;  // something was left out
};

// The same prompt in at most max_tokens: what is far from the gap is left out. The prefix has
// three quarters of the room and the suffix one, each more where the other needs less; context
// stands before the prefix, whole texts only, as far as there is room left.
// Errors: as fim_prompt; invalid_argument with param "suffix" for room of less than 4 tokens.
Result<FimPrompt> fim_prompt_within(const Tokenizer& tokenizer, const FimSurroundings& text,
                                    size_t max_tokens);

}  // namespace tristill
