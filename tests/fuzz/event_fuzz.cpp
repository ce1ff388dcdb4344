// Any line as a worker's event; what is accepted is written and read back the same.
#include <cstdint>

#include "base/check.h"
#include "train/job/event.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view line(reinterpret_cast<const char*>(data), size);
  const auto event = tristill::job::parse_event(line);
  if (!event) return 0;
  const std::string written = tristill::job::format_event(*event);
  const auto again = tristill::job::parse_event(written);
  CHECK(again.has_value());
  CHECK(tristill::job::format_event(*again) == written);
  return 0;
}
