// CRC-32C (Castagnoli polynomial, RFC 3720 appendix B.4): tells torn or rotten bytes from whole
// ones. Not a defence against an adversary. Pure.
#pragma once

#include <cstdint>
#include <string_view>

namespace tristill {

uint32_t crc32c(std::string_view bytes);

}  // namespace tristill
