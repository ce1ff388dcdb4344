// GGUF version 3: the container (ggml-org, docs/gguf.md). Reads untrusted files: every length,
// count and product is checked before use. Knows no key's meaning; model_file.cpp does.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"

namespace tristill {

enum class GgufType : uint32_t {
  u8 = 0,
  i8 = 1,
  u16 = 2,
  i16 = 3,
  u32 = 4,
  i32 = 5,
  f32 = 6,
  boolean = 7,
  string = 8,
  array = 9,
  u64 = 10,
  i64 = 11,
  f64 = 12,
};

enum class TensorType : uint32_t {
  f32 = 0,
  f16 = 1,
  q8_0 = 8,
  i8 = 24,
  i32 = 26,
  bf16 = 30,
  tq2_0 = 35
};

// Elements and bytes of one block of a type; {0, 0} for a type we do not know.
struct BlockShape {
  uint64_t elements, bytes;
};
BlockShape block_shape(TensorType type);
std::string to_string(TensorType type);

using GgufArray = std::variant<std::vector<uint8_t>, std::vector<int64_t>, std::vector<double>,
                               std::vector<std::string>>;
using GgufValue = std::variant<bool, uint64_t, int64_t, double, std::string, GgufArray>;

struct GgufTensor {
  std::string name;
  TensorType type = TensorType::f32;
  std::vector<uint64_t> dims;  // innermost first
  std::span<const std::byte> bytes;

  uint64_t elements() const;
};

// Views into the mapped file: valid while its bytes are.
struct GgufFile {
  std::map<std::string, GgufValue, std::less<>> metadata;
  std::map<std::string, GgufTensor, std::less<>> tensors;

  // Errors: corrupt, naming the key, when it is missing or of another type.
  Result<std::string> text(std::string_view key) const;
  Result<uint64_t> unsigned_number(std::string_view key, uint64_t max) const;
  Result<double> number(std::string_view key) const;
  Result<bool> boolean(std::string_view key) const;
};

// Errors: corrupt, param "model", naming what is wrong and where.
Result<GgufFile> read_gguf(std::span<const std::byte> file);

}  // namespace tristill
