// Any text as the body of a train job; what is accepted is written and read back the same.
#include <cstdint>

#include "base/check.h"
#include "train/job/spec.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto spec = tristill::job::parse_train_spec(text);
  if (!spec) return 0;
  const std::string written = tristill::job::format_train_spec(*spec);
  const auto again = tristill::job::parse_train_spec(written);
  CHECK(again.has_value());
  CHECK(tristill::job::format_train_spec(*again) == written);
  return 0;
}
