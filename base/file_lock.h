// flock as liveness: the lock is held exactly while its owner lives, whatever kills it.
#pragma once

#include <filesystem>
#include <optional>

#include "base/result.h"

namespace tristill {

class FileLock {
 public:
  // Takes the lock and writes our pid into the file. conflict when another process holds it.
  static Result<FileLock> acquire(const std::filesystem::path& path);
  // Whether some process holds the lock now. A missing file is not held.
  static bool is_held(const std::filesystem::path& path);

  FileLock(FileLock&& other) noexcept;
  FileLock& operator=(FileLock&& other) noexcept;
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;
  ~FileLock();

 private:
  explicit FileLock(int fd) : fd_(fd) {}
  int fd_ = -1;
};

}  // namespace tristill
