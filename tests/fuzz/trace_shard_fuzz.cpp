// Any bytes as a shard of traces: whole records are visited, a torn rest is told.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <string>

#include "train/trace/shard.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const int fd = ::memfd_create("shard", 0);
  CHECK(fd >= 0 && ::write(fd, data, size) == static_cast<ssize_t>(size));
  uint64_t visited = 0;
  const auto summary = tristill::trace::read_shard(
      "/proc/self/fd/" + std::to_string(fd),
      [&](tristill::trace::Record&& record) { visited += record.tokens.empty() ? 0 : 1; });
  ::close(fd);
  if (summary) CHECK(visited <= summary->records);
  if (summary && summary->damaged_at) {
    CHECK(summary->torn_tail && *summary->damaged_at == summary->records + 1);
  }
  return 0;
}
