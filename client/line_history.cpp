#include "client/line_history.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/atomic_file.h"

namespace tristill::client {
namespace {

constexpr size_t kMaxFileBytes = size_t{16} << 20;

std::vector<std::string> lines_of(std::string_view bytes) {
  std::vector<std::string> lines;
  while (!bytes.empty()) {
    const size_t end = std::min(bytes.find('\n'), bytes.size());
    if (end > 0) lines.emplace_back(bytes.substr(0, end));
    bytes.remove_prefix(std::min(end + 1, bytes.size()));
  }
  return lines;
}

// For the owner alone: what is typed may be private.
int open_private(const std::filesystem::path& path, int flags) {
  return open(path.c_str(), flags | O_WRONLY | O_CREAT | O_CLOEXEC, S_IRUSR | S_IWUSR);
}

bool write_lines(const std::filesystem::path& path, int flags, const std::string& bytes) {
  const int fd = open_private(path, flags);
  if (fd < 0) return false;
  const bool written = write_all(fd, bytes, path).has_value();
  return close(fd) == 0 && written;
}

}  // namespace

LineHistory::LineHistory(std::filesystem::path path) : path_(std::move(path)) {
  if (path_.empty()) return;
  std::error_code ignored;
  std::filesystem::create_directories(path_.parent_path(), ignored);
  std::filesystem::permissions(path_.parent_path(), std::filesystem::perms::owner_all, ignored);
  const auto bytes = read_file(path_, kMaxFileBytes);
  if (!bytes) return;
  lines_ = lines_of(*bytes);
  if (lines_.size() <= kMaxLines) return;
  const bool rewrite = lines_.size() > 2 * kMaxLines;
  lines_.erase(lines_.begin(), lines_.end() - kMaxLines);
  if (!rewrite) return;
  std::string kept;
  for (const std::string& line : lines_) kept += line + '\n';
  write_lines(path_, O_TRUNC, kept);
}

bool LineHistory::add(std::string_view line) {
  if (line.find_first_not_of(" \t") == std::string_view::npos) return true;
  if (!lines_.empty() && lines_.back() == line) return true;
  lines_.emplace_back(line);
  if (path_.empty()) return false;
  return write_lines(path_, O_APPEND, std::string(line) + '\n');
}

}  // namespace tristill::client
