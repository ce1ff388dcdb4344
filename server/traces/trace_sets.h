// The named trace sets on the disk and what is known of them. Any thread: each set has a mutex,
// held over its own appends and scans only. Not HTTP (routes.cpp), not the format (train/trace).
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "train/trace/record.h"

namespace tristill::traces {

struct TraceSet {
  std::string name;
  std::string tokenizer;  // fingerprint that all records share
  uint64_t records = 0;
  uint64_t tokens = 0;
  uint64_t scored_tokens = 0;
  uint64_t bytes = 0;
  int64_t created_at = 0;  // Unix seconds
};

class TraceSets {
 public:
  explicit TraceSets(std::filesystem::path root) : root_(std::move(root)) {}

  // All of records, durable, or none; the name is valid, records are not empty. Errors: conflict
  // when the set's records are of another tokenizer; resource_exhausted on a full disk; corrupt
  // when its shard is damaged.
  Result<TraceSet> append(const std::string& name, std::span<const trace::Record> records);

  // Errors: not_found; corrupt when its shard is damaged.
  Result<TraceSet> summary(const std::string& name);
  // Sets that can be read, by name.
  std::vector<TraceSet> list();
  Result<void> remove(const std::string& name);

  // Nothing when there is no such set.
  std::optional<std::filesystem::path> shard_path(const std::string& name) const;

 private:
  struct Entry {
    std::mutex mutex;  // guards the set's files and what is known of them
    std::optional<TraceSet> known;
    std::optional<Error> damage;  // until the set is removed
  };
  std::shared_ptr<Entry> entry(const std::string& name);
  std::filesystem::path shard(const std::string& name) const;
  Result<void> create(const std::string& name, std::span<const trace::Record> records) const;
  // Reads the shard unless it is known already. The entry's mutex is held.
  Result<TraceSet> scan(const std::string& name, Entry& entry) const;

  std::filesystem::path root_;  // DATA/traces
  std::mutex mutex_;            // guards entries_
  std::map<std::string, std::shared_ptr<Entry>> entries_;
};

}  // namespace tristill::traces
