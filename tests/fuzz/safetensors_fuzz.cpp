// Any bytes as a safetensors file; what is accepted can be read to its last number.
#include <cstddef>
#include <cstdint>
#include <span>

#include "tests/fuzz/readable.h"
#include "train/convert/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  const auto tensors = tristill::convert::read_safetensors(bytes);
  if (tensors) tristill::check_readable(*tensors);
  return 0;
}
