// A tokenizer's fingerprint, as records name it: SHA-256 in lower-case hexadecimal. Pure.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string_view>

namespace tristill::trace {

inline constexpr size_t kFingerprintDigits = 64;

inline bool is_fingerprint(std::string_view text) {
  return text.size() == kFingerprintDigits && std::ranges::all_of(text, [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

}  // namespace tristill::trace
