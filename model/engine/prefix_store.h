// Known beginnings as a file, so that a cache outlives its process: tokens and blocks of a
// PrefixIndex, the most recently used ones. Blocks have the same bytes on every CPU and GPU, so a
// file may come from another machine. The engine's thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "base/result.h"
#include "model/backend.h"
#include "model/engine/prefix_index.h"
#include "model/kv_cache.h"

namespace tristill::engine {

// Writes up to most_bytes of blocks, atomically; returns how many blocks. identity says what they
// were computed with: a file is only read under the same one. Errors: as base/atomic_file.h.
Result<uint32_t> save_prefixes(const std::filesystem::path& path, const std::string& identity,
                               const PrefixIndex& index, Backend& backend, uint64_t block_bytes,
                               uint64_t most_bytes);

// Removes the oldest files of a folder of such files until n are left. What cannot go stays.
void keep_newest(const std::filesystem::path& folder, size_t n);

// Fills an empty index, as far as the cache has room; returns how many blocks. Errors: not_found;
// invalid_argument when the file is damaged or of another identity.
Result<uint32_t> load_prefixes(const std::filesystem::path& path, const std::string& identity,
                               PrefixIndex& index, KvCache& cache, Backend& backend,
                               uint64_t block_bytes);

}  // namespace tristill::engine
