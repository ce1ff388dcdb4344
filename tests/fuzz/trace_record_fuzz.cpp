// Any line as a teacher's answer; what is accepted is written and read back the same.
#include <cstdint>

#include "base/check.h"
#include "train/trace/jsonl.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view line(reinterpret_cast<const char*>(data), size);
  const auto record = tristill::trace::parse_record(line);
  if (!record) return 0;
  const std::string written = tristill::trace::format_record(*record);
  const auto again = tristill::trace::parse_record(written);
  CHECK(again.has_value());
  CHECK(tristill::trace::format_record(*again) == written);
  return 0;
}
