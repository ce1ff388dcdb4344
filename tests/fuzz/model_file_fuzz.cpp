// Any bytes as a whole model: container, config, tensors and tokenizer.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <string>

#include "model/weights.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const int fd = ::memfd_create("model", 0);
  CHECK(fd >= 0 && ::write(fd, data, size) == static_cast<ssize_t>(size));
  auto file = tristill::read_model_file("/proc/self/fd/" + std::to_string(fd));
  ::close(fd);
  if (file) tristill::make_model("fuzz", std::move(*file));
  return 0;
}
