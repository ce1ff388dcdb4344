// Any text as the body of a job; what is accepted is written and read back the same.
#include <cstdint>

#include "base/check.h"
#include "train/job/job_spec.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto spec = tristill::job::parse_job_spec(text);
  if (!spec) return 0;
  const std::string written = tristill::job::format_job_spec(*spec);
  const auto again = tristill::job::parse_job_spec(written);
  CHECK(again.has_value());
  CHECK(tristill::job::format_job_spec(*again) == written);
  return 0;
}
