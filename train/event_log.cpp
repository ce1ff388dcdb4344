#include "train/event_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <system_error>

#include "base/atomic_file.h"

namespace tristill::train {

EventLog::EventLog(const std::filesystem::path& path)
    : fd_(::open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644)), path_(path) {
  if (fd_ < 0) throw std::system_error(errno, std::generic_category(), path.string());
  const off_t size = ::lseek(fd_, 0, SEEK_END);
  char last = '\n';
  if (size > 0 && ::pread(fd_, &last, 1, size - 1) == 1 && last != '\n') {
    if (!write_all(fd_, "\n", path_)) throw std::system_error(errno, std::generic_category());
  }
}

EventLog::~EventLog() {
  if (fd_ >= 0) ::close(fd_);
}

void EventLog::write(job::Event event) {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  event.time = std::chrono::duration<double>(now).count();
  Result<void> done = write_all(fd_, job::format_event(event) + "\n", path_);
  const bool durable = event.type == job::EventType::checkpoint ||
                       event.type == job::EventType::artifact ||
                       event.type == job::EventType::result;
  if (done && durable) done = sync_file(fd_, path_);
  if (!done) {
    throw std::system_error(std::make_error_code(std::errc::no_space_on_device),
                            done.error().message);
  }
}

void EventLog::info(std::string message) {
  write({.type = job::EventType::log, .message = std::move(message)});
}

void EventLog::warn(std::string message) {
  write(
      {.type = job::EventType::log, .level = job::EventLevel::warn, .message = std::move(message)});
}

}  // namespace tristill::train
