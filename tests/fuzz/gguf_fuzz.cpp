// Any bytes as a model file: refused by name or read, never worse; tensors lie inside the bytes.
#include <cstdint>
#include <span>

#include "model/format/gguf.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  const auto file = tristill::read_gguf(bytes);
  if (!file) return 0;
  for (const auto& [name, tensor] : file->tensors) {
    CHECK(tensor.elements() > 0);
    CHECK(tensor.bytes.data() >= bytes.data() && tensor.bytes.size() <= size);
    CHECK(tensor.bytes.data() + tensor.bytes.size() <= bytes.data() + size);
  }
  return 0;
}
