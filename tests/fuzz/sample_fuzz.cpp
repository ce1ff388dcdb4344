// Any line of a JSON Lines corpus; what is accepted is text that teaches something.
#include <cstdint>

#include "base/check.h"
#include "base/utf8.h"
#include "train/trace/sample.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view line(reinterpret_cast<const char*>(data), size);
  const auto samples = tristill::trace::parse_samples(line);
  if (!samples) return 0;
  CHECK(!samples->empty());
  for (const auto& sample : *samples) {
    CHECK(!sample.parts.empty());
    bool learned = sample.parts.size() > 1;
    for (const auto& part : sample.parts) {
      CHECK(!part.text.empty() && tristill::utf8_is_valid(part.text));
      CHECK(part.learned != learned);
      learned = part.learned;
    }
    CHECK(learned);
  }
  return 0;
}
