// SHA-256 of a file that may be larger than memory. Any thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>

#include "base/result.h"
#include "base/sha256.h"

namespace tristill {

struct FileDigest {
  Sha256Digest digest{};
  uint64_t bytes = 0;  // how many those are
};

// Of the file's first `most` bytes, or of all. Errors: not_found, unavailable.
Result<FileDigest> digest_of_file(const std::filesystem::path& path,
                                  uint64_t most = std::numeric_limits<uint64_t>::max());

}  // namespace tristill
