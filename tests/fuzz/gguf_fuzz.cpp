// Any bytes as a model file: refused by name or read, never worse.
#include <cstdint>
#include <span>

#include "model/format/gguf.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto file = tristill::read_gguf(std::as_bytes(std::span(data, size)));
  if (!file) return 0;
  for (const auto& [name, tensor] : file->tensors) CHECK(tensor.elements() > 0);
  return 0;
}
