#include "server/jobs/event_tail.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <optional>

namespace tristill::jobs {
namespace {

constexpr size_t kPartBytes = 4 * kMaxEventLine;

double now() {
  const auto time = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration<double>(time).count();
}

job::Event warning(std::string message, double time) {
  return {.type = job::EventType::log,
          .level = job::EventLevel::warn,
          .time = time,
          .message = std::move(message),
          .numbers = {},
          .texts = {}};
}

// Up to kPartBytes from the offset on; empty at the end or when the file cannot be read.
std::string read_part(const std::filesystem::path& path, int64_t offset) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return {};
  std::string bytes(kPartBytes, '\0');
  size_t n_read = 0;
  while (n_read < bytes.size()) {
    const ssize_t n = ::pread(fd, bytes.data() + n_read, bytes.size() - n_read,
                              static_cast<off_t>(offset) + static_cast<off_t>(n_read));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    n_read += static_cast<size_t>(n);
  }
  ::close(fd);
  bytes.resize(n_read);
  return bytes;
}

// Zero when there is no file; nothing when that cannot be known.
std::optional<int64_t> size_of(const std::filesystem::path& path) {
  struct stat status{};
  if (::stat(path.c_str(), &status) == 0) return static_cast<int64_t>(status.st_size);
  return errno == ENOENT ? std::optional<int64_t>(0) : std::nullopt;
}

}  // namespace

std::vector<job::Event> parse_lines(std::string_view bytes, double time, size_t& used) {
  std::vector<job::Event> events;
  used = 0;
  while (used < bytes.size()) {
    const size_t end = bytes.find('\n', used);
    if (end == std::string_view::npos) break;
    const auto line = bytes.substr(used, end - used);
    used = end + 1;
    if (line.empty()) continue;
    if (line.size() > kMaxEventLine) {
      events.push_back(warning("an event of " + std::to_string(line.size()) +
                                   " bytes was skipped; accepted are " +
                                   std::to_string(kMaxEventLine),
                               time));
      continue;
    }
    auto event = job::parse_event(line);
    if (event) {
      events.push_back(std::move(*event));
    } else {
      events.push_back(warning("an unreadable event was skipped: " + event.error().message, time));
    }
  }
  return events;
}

void EventTail::accept_loss() {
  const auto size = size_of(file_);
  if (!size || *size >= offset_) return;
  const auto lost = warning("events.jsonl is " + std::to_string(offset_ - *size) +
                                " bytes shorter than what was read of it, as after a power cut; "
                                "the last events before it may be missing",
                            now());
  store_.append_events(job_id_, offset_, *size, {lost});
  offset_ = *size;
}

size_t EventTail::drain() {
  size_t n_events = 0;
  while (drain_part(n_events)) {}
  return n_events;
}

bool EventTail::drain_part(size_t& n_events) {
  const std::string bytes = read_part(file_, offset_);
  if (bytes.empty()) return false;
  size_t used = 0;
  std::vector<job::Event> events;
  if (skipping_) {
    // The rest of an overlong line, up to and with its newline.
    const size_t end = bytes.find('\n');
    used = end == std::string::npos ? bytes.size() : end + 1;
    store_.append_events(job_id_, offset_, offset_ + static_cast<int64_t>(used), {});
    skipping_ = end == std::string::npos;
  } else {
    events = parse_lines(bytes, now(), used);
    if (used == 0 && bytes.size() > kMaxEventLine) {
      used = bytes.size();
      events.push_back(warning(
          "an event of more than " + std::to_string(kMaxEventLine) + " bytes was skipped", now()));
      skipping_ = true;
    }
    if (used == 0) return false;
    store_.append_events(job_id_, offset_, offset_ + static_cast<int64_t>(used), events);
  }
  offset_ += static_cast<int64_t>(used);
  n_events += events.size();
  return true;
}

}  // namespace tristill::jobs
