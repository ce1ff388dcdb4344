#include "train/data/fim.h"

#include <algorithm>
#include <cmath>

namespace tristill::train {
namespace {

// The nearest start of a character at or before position.
size_t character_start(std::string_view text, size_t position) {
  while (position > 0 && position < text.size() &&
         (static_cast<unsigned char>(text[position]) & 0xC0) == 0x80) {
    --position;
  }
  return position;
}

}  // namespace

std::vector<TokenId> fim_tokens(const Tokenizer& tokenizer, std::string_view text, FimOrder order,
                                size_t max_tokens, RandomStream& random) {
  const SpecialTokens& special = tokenizer.special();
  if (!special.has_fim() || special.eos == kNoToken || text.size() < 2) return {};
  const double longest = std::max(1.0, static_cast<double>(text.size()) / 2.0);
  const auto length = static_cast<size_t>(std::exp(random.uniform() * std::log(longest)));
  const size_t from = character_start(text, random.below(text.size() - length + 1));
  const size_t to = character_start(text, std::min(from + length, text.size()));

  auto prefix = tokenizer.encode(text.substr(0, from));
  const auto middle = tokenizer.encode(text.substr(from, to - from));
  auto suffix = tokenizer.encode(text.substr(to));
  if (middle.size() + kFimControlTokens > max_tokens) return {};
  const size_t room = max_tokens - kFimControlTokens - middle.size();
  if (prefix.size() + suffix.size() > room) {
    const size_t excess = prefix.size() + suffix.size() - room;
    const size_t cut = std::min(excess, suffix.size());
    suffix.resize(suffix.size() - cut);
    prefix.erase(prefix.begin(), prefix.begin() + static_cast<ptrdiff_t>(excess - cut));
  }
  std::vector<TokenId> out = {special.fim_prefix};
  if (order == FimOrder::psm) out.insert(out.end(), prefix.begin(), prefix.end());
  out.push_back(special.fim_suffix);
  out.insert(out.end(), suffix.begin(), suffix.end());
  out.push_back(special.fim_middle);
  if (order == FimOrder::spm) out.insert(out.end(), prefix.begin(), prefix.end());
  out.insert(out.end(), middle.begin(), middle.end());
  out.push_back(special.eos);
  return out;
}

}  // namespace tristill::train
