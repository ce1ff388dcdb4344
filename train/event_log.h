// The worker's side of events.jsonl: appends one line an event. Trainer's thread only.
#pragma once

#include <filesystem>

#include "base/result.h"
#include "train/job/event.h"

namespace tristill::train {

class EventLog {
 public:
  // Opens for appending; a torn last line of an earlier run is ended first. Throws
  // std::system_error when the file cannot be opened.
  explicit EventLog(const std::filesystem::path& path);
  ~EventLog();
  EventLog(const EventLog&) = delete;
  EventLog& operator=(const EventLog&) = delete;

  // Stamps the time and appends; checkpoint, artifact and result events are synced to disk.
  // Throws std::system_error when the disk refuses.
  void write(job::Event event);
  void info(std::string message);
  void warn(std::string message);

 private:
  int fd_ = -1;
  std::filesystem::path path_;
};

}  // namespace tristill::train
