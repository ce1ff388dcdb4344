#include "base/atomic_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>

namespace tristill {
namespace {

Error system_error(const char* what, const std::filesystem::path& path, int error) {
  const bool full = error == ENOSPC || error == EDQUOT || error == EFBIG;
  const auto code = full              ? ErrorCode::resource_exhausted
                    : error == ENOENT ? ErrorCode::not_found
                                      : ErrorCode::unavailable;
  return {code, std::string("cannot ") + what + " " + path.string() + ": " + std::strerror(error),
          "path"};
}

// Closes the descriptor, whatever happens.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

Result<void> sync_folder_of(const std::filesystem::path& path) {
  return sync_folder(path.has_parent_path() ? path.parent_path() : std::filesystem::path("."));
}

}  // namespace

Result<void> write_all(int fd, std::string_view bytes, const std::filesystem::path& path) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return system_error("write", path, errno);
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return {};
}

Result<void> sync_file(int fd, const std::filesystem::path& path) {
  if (::fsync(fd) != 0) return system_error("sync", path, errno);
  return {};
}

Result<void> sync_folder(const std::filesystem::path& folder) {
  const Descriptor dir(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (dir.get() < 0) return system_error("open", folder, errno);
  return sync_file(dir.get(), folder);
}

Result<void> rename_durably(const std::filesystem::path& from, const std::filesystem::path& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) return system_error("rename to", to, errno);
  return sync_folder_of(to);
}

Result<void> swap_durably(const std::filesystem::path& from, const std::filesystem::path& to) {
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_EXCHANGE) != 0) {
    return system_error("swap with", to, errno);
  }
  return sync_folder_of(to);
}

Result<AtomicFile> AtomicFile::create(const std::filesystem::path& path, unsigned mode) {
  static std::atomic<unsigned> counter{0};
  auto temporary = path;
  temporary += ".tmp-" + std::to_string(::getpid()) + "-" + std::to_string(counter++);
  const int fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
  if (fd < 0) return system_error("create", path, errno);
  return AtomicFile(fd, path, std::move(temporary));
}

AtomicFile::AtomicFile(AtomicFile&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      path_(std::move(other.path_)),
      temporary_(std::exchange(other.temporary_, {})) {}

AtomicFile::~AtomicFile() {
  if (fd_ >= 0) ::close(fd_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

Result<void> AtomicFile::append(std::string_view bytes) { return write_all(fd_, bytes, path_); }

Result<void> AtomicFile::commit() {
  if (auto synced = sync_file(fd_, path_); !synced) return synced;
  auto renamed = rename_durably(temporary_, path_);
  if (renamed) temporary_.clear();
  return renamed;
}

Result<void> write_file_atomically(const std::filesystem::path& path, std::string_view bytes,
                                   unsigned mode) {
  auto file = AtomicFile::create(path, mode);
  if (!file) return file.error();
  if (auto written = file->append(bytes); !written) return written;
  return file->commit();
}

Result<std::string> read_file(const std::filesystem::path& path, size_t max_bytes) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) return system_error("open", path, errno);
  std::string content;
  char part[65536];
  for (;;) {
    const ssize_t n = ::read(file.get(), part, sizeof part);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return system_error("read", path, errno);
    if (n == 0) return content;
    content.append(part, static_cast<size_t>(n));
    if (content.size() > max_bytes) {
      return Error{ErrorCode::resource_exhausted,
                   path.string() + " is larger than " + std::to_string(max_bytes) + " bytes",
                   "path"};
    }
  }
}

}  // namespace tristill
