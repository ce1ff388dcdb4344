#include "model/tokenizer/fim.h"

#include <algorithm>

namespace tristill {
namespace {

constexpr size_t kFimTokens = 3;
// No token of text is longer than this many bytes in practice: bounds what is split at all.
constexpr size_t kBytesPerToken = 64;

Result<void> check_special(const SpecialTokens& special) {
  if (special.has_fim()) return {};
  return Error{ErrorCode::invalid_argument,
               "this model has no fill-in-the-middle tokens; leave suffix out", "suffix"};
}

std::vector<TokenId> assemble(const SpecialTokens& special, const std::vector<TokenId>& before,
                              const std::vector<TokenId>& after) {
  std::vector<TokenId> ids = {special.fim_prefix};
  ids.insert(ids.end(), before.begin(), before.end());
  ids.push_back(special.fim_suffix);
  ids.insert(ids.end(), after.begin(), after.end());
  ids.push_back(special.fim_middle);
  return ids;
}

}  // namespace

Result<std::vector<TokenId>> fim_prompt(const Tokenizer& tokenizer, std::string_view prefix,
                                        std::string_view suffix) {
  if (auto there = check_special(tokenizer.special()); !there) return there.error();
  return assemble(tokenizer.special(), tokenizer.encode(prefix), tokenizer.encode(suffix));
}

Result<FimPrompt> fim_prompt_within(const Tokenizer& tokenizer, const FimSurroundings& text,
                                    size_t max_tokens) {
  if (auto there = check_special(tokenizer.special()); !there) return there.error();
  if (max_tokens <= kFimTokens) {
    return Error{ErrorCode::invalid_argument, "the context has no room for a gap", "suffix"};
  }
  FimPrompt prompt;
  const size_t room = max_tokens - kFimTokens;
  const size_t most_bytes = room * kBytesPerToken;
  std::string_view prefix = text.prefix;
  if (prefix.size() > most_bytes) prefix.remove_prefix(prefix.size() - most_bytes);
  const std::string_view suffix = text.suffix.substr(0, most_bytes);
  auto before = tokenizer.encode(prefix);
  auto after = tokenizer.encode(suffix);
  prompt.was_cut = prefix.size() < text.prefix.size() || suffix.size() < text.suffix.size();
  const size_t n_after =
      std::min(after.size(), std::max(room / 4, room - std::min(room, before.size())));
  const size_t n_before = std::min(before.size(), room - n_after);
  prompt.was_cut = prompt.was_cut || n_after < after.size() || n_before < before.size();
  after.resize(n_after);
  before.erase(before.begin(), before.end() - static_cast<ptrdiff_t>(n_before));
  size_t left = room - n_after - n_before;
  for (auto other = text.context.rbegin(); other != text.context.rend(); ++other) {
    if (other->size() > left * kBytesPerToken) {
      prompt.was_cut = true;
      break;
    }
    const auto ids = tokenizer.encode(*other);
    if (ids.size() > left) {
      prompt.was_cut = true;
      break;
    }
    before.insert(before.begin(), ids.begin(), ids.end());
    left -= ids.size();
  }
  prompt.ids = assemble(tokenizer.special(), before, after);
  return prompt;
}

}  // namespace tristill
