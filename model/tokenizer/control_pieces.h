// ControlPieces: how a tokenizer's control tokens are spelled ("<s>", "<|im_start|>"), for text
// that may name them: chat templates. Plain text may not (Tokenizer::encode). Immutable: any
// thread. Header only, because the tokenizer plug-in of the worker carries it too.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tristill {

class ControlPieces {
 public:
  struct Piece {
    std::string spelling;  // not empty
    int32_t id = 0;
  };
  struct Match {
    int32_t id = 0;
    size_t length = 0;  // bytes
  };

  ControlPieces() = default;
  explicit ControlPieces(std::vector<Piece> pieces) : pieces_(std::move(pieces)) {
    std::sort(pieces_.begin(), pieces_.end(),
              [](const Piece& a, const Piece& b) { return a.spelling < b.spelling; });
  }

  // Sorted by spelling.
  const std::vector<Piece>& all() const { return pieces_; }

  // The longest piece that text begins with. Takes O(length of the match * log of their number).
  std::optional<Match> longest_at(std::string_view text) const {
    std::optional<Match> longest;
    auto low = pieces_.begin();
    auto high = pieces_.end();
    for (size_t depth = 0; low != high; ++depth) {
      if (low->spelling.size() == depth) {  // the pieces between low and high begin alike
        longest = Match{low->id, depth};
        if (++low == high) break;
      }
      if (depth == text.size()) break;
      const auto byte_of = [depth](const Piece& piece) {
        return static_cast<unsigned char>(piece.spelling[depth]);
      };
      const auto byte = static_cast<unsigned char>(text[depth]);
      low = std::partition_point(low, high, [&](const Piece& one) { return byte_of(one) < byte; });
      high =
          std::partition_point(low, high, [&](const Piece& one) { return byte_of(one) == byte; });
    }
    return longest;
  }

 private:
  std::vector<Piece> pieces_;
};

}  // namespace tristill
