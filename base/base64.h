// Base64 (RFC 4648, with padding). Any thread.
#pragma once

#include <span>
#include <string>

namespace tristill {

std::string to_base64(std::span<const std::byte> bytes);

}  // namespace tristill
