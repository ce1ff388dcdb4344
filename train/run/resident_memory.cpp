#include "train/run/resident_memory.h"

#include <unistd.h>

#include <sstream>

#include "base/atomic_file.h"

namespace tristill::train {
namespace {

constexpr size_t kMostBytes = 1 << 12;

}  // namespace

// proc(5): pages, the whole size and then what is resident.
std::optional<uint64_t> resident_bytes() {
  const auto text = read_file("/proc/self/statm", kMostBytes);
  if (!text) return std::nullopt;
  std::istringstream in(*text);
  uint64_t whole = 0;
  uint64_t resident = 0;
  if (!(in >> whole >> resident)) return std::nullopt;
  return resident * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
}

}  // namespace tristill::train
