// SHA-256 (FIPS 180-4) through OpenSSL, and hexadecimal text. Any thread.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace tristill {

using Sha256Digest = std::array<uint8_t, 32>;

Sha256Digest sha256(std::string_view bytes);

// For bytes that come in parts.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;
  void update(std::string_view bytes);
  Sha256Digest finish();  // once

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

// In a time that does not depend on the bytes.
bool same_digest(const Sha256Digest& a, const Sha256Digest& b);

std::string to_hex(std::span<const uint8_t> bytes);

}  // namespace tristill
