// Shards: append-only files of trace records, each record with its length and CRC32C, so that a
// torn tail after a power cut is told from a whole record and cut off.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>

#include "base/result.h"
#include "train/trace/record.h"

namespace tristill::trace {

// Appends records to the shard file at path (created when missing, a torn tail cut off first),
// then fsyncs file and folder: when it answers ok, all records survive a power cut; on error none
// of this call's records is kept. One writer at a time a path (the caller's lock).
Result<void> append_records(const std::filesystem::path& path, std::span<const Record> records);

struct ShardSummary {
  uint64_t records = 0;
  uint64_t tokens = 0;
  uint64_t scored_tokens = 0;  // with a teacher distribution
  bool torn_tail = false;
};

// Calls visit for each whole record in order; stops at the first torn or corrupt one (torn_tail).
// Errors: not_found; corrupt when the header is not a shard's.
Result<ShardSummary> read_shard(const std::filesystem::path& path,
                                const std::function<void(Record&&)>& visit);

}  // namespace tristill::trace
