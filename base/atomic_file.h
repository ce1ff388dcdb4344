// Whole files that exist completely or not at all, also after a power cut:
// written beside the target, fsync, rename, fsync of the folder. Any thread.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "base/result.h"

namespace tristill {

// A file on its way: what is appended becomes path when commit() succeeds, and is gone otherwise.
// Errors: resource_exhausted when the disk is full, else unavailable, of path and not of its place
// until then; the old file stays whole.
class AtomicFile {
 public:
  // mode: who may read it, as of chmod; for secrets 0600, from the first byte on.
  static Result<AtomicFile> create(const std::filesystem::path& path, unsigned mode = 0644);
  AtomicFile(AtomicFile&& other) noexcept;
  AtomicFile& operator=(AtomicFile&&) = delete;
  ~AtomicFile();

  Result<void> append(std::string_view bytes);
  Result<void> commit();

 private:
  AtomicFile(int fd, std::filesystem::path path, std::filesystem::path temporary)
      : fd_(fd), path_(std::move(path)), temporary_(std::move(temporary)) {}
  int fd_;
  std::filesystem::path path_;
  std::filesystem::path temporary_;  // empty once it is path_
};

// Replaces path by bytes. Errors: resource_exhausted when the disk is full, else unavailable;
// the old file is then still whole.
Result<void> write_file_atomically(const std::filesystem::path& path, std::string_view bytes,
                                   unsigned mode = 0644);

// Writes all of bytes to fd, or says why not.
Result<void> write_all(int fd, std::string_view bytes, const std::filesystem::path& path);

// fsync of an open file, or of a folder so that a rename in it is durable.
Result<void> sync_file(int fd, const std::filesystem::path& path);
Result<void> sync_folder(const std::filesystem::path& folder);

// Renames from to (same file system) and makes the rename durable.
Result<void> rename_durably(const std::filesystem::path& from, const std::filesystem::path& to);

// The same, where to exists, a folder perhaps: from is then what to was. Where the file system
// cannot swap (unavailable) nothing has changed.
Result<void> swap_durably(const std::filesystem::path& from, const std::filesystem::path& to);

// The whole file as a string. Errors: not_found, unavailable; resource_exhausted over max_bytes.
Result<std::string> read_file(const std::filesystem::path& path,
                              size_t max_bytes = size_t{1} << 30);

}  // namespace tristill
