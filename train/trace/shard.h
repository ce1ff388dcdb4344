// Shards: append-only files of trace records, each record with its length and CRC32C, so that a
// torn tail after a power cut is told from a whole record and cut off, and rot in the middle from
// both: whole records that follow it are never cut off.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>

#include "base/result.h"
#include "train/trace/record.h"

namespace tristill::trace {

// Appends records to the shard file at path (created when missing, a torn tail cut off first),
// then fsyncs file and folder: when it answers ok, all records survive a power cut; on error none
// of this call's records is kept. One writer at a time a path (the caller's lock). Errors: corrupt
// when it is no shard or is damaged (ShardSummary::damaged_at): nothing is changed then;
// resource_exhausted on a full disk.
Result<void> append_records(const std::filesystem::path& path, std::span<const Record> records);

struct ShardSummary {
  uint64_t records = 0;
  uint64_t tokens = 0;
  uint64_t scored_tokens = 0;  // with a teacher distribution
  uint64_t bytes = 0;          // of the file up to the end of the last record that was read
  bool torn_tail = false;      // reading ended before the file's end
  // The number, from 1, of a record that cannot be read although no torn write explains it: whole
  // records follow, or its CRC is right and its content impossible.
  std::optional<uint64_t> damaged_at;
};

// Calls visit for each whole record in order; stops at the first torn or corrupt one (torn_tail,
// damaged_at). Errors: not_found; corrupt when the header is not a shard's.
Result<ShardSummary> read_shard(const std::filesystem::path& path,
                                const std::function<void(Record&&)>& visit);

// What to tell of a shard with damaged_at: corrupt, naming it, the record and what can be done.
Error damaged_shard(const std::filesystem::path& path, uint64_t record);

}  // namespace tristill::trace
