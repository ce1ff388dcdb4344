// Any bytes as a checkpoint of torch.save, and as a pickle alone; what is accepted can be read to
// its last number.
#include <cstddef>
#include <cstdint>
#include <span>

#include "tests/fuzz/readable.h"
#include "train/convert/pickle.h"
#include "train/convert/torch_checkpoint.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  const auto pickle = tristill::convert::Pickle::parse(bytes);
  if (pickle) pickle->find(pickle->root(), "state_dict");
  const auto tensors = tristill::convert::read_torch_checkpoint(bytes);
  if (tensors) tristill::check_readable(*tensors);
  return 0;
}
