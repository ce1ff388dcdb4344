// Reads what a worker appends to events.jsonl into the store, exactly once across crashes of
// either side: the offset is stored with the events. Whole lines only; a corrupt or overlong
// line becomes one warning. One thread (the supervisor's).
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "server/jobs/store.h"

namespace tristill::jobs {

inline constexpr size_t kMaxEventLine = size_t{1} << 20;

class EventTail {
 public:
  EventTail(Store& store, std::string job_id, std::filesystem::path file, int64_t offset)
      : store_(store), job_id_(std::move(job_id)), file_(std::move(file)), offset_(offset) {}

  // Before a worker starts: a file that is shorter than what was read of it has lost its end, as in
  // a power cut, and is read on from its end as it is now. The job gets a warning. Not while a
  // worker writes.
  void accept_loss();

  // Stores every whole line that is there; says how many events that were. A line that is not
  // whole yet stays for the next call. A file that is not there yet has no lines.
  size_t drain();

 private:
  // One part of at most some megabytes; false when nothing whole is left.
  bool drain_part(size_t& n_events);

  Store& store_;
  std::string job_id_;
  std::filesystem::path file_;
  int64_t offset_;  // stored
  bool skipping_ = false;  // inside an overlong line whose warning is stored
};

// The whole lines at the start of bytes as events; `used` is their length in bytes.
std::vector<job::Event> parse_lines(std::string_view bytes, double time, size_t& used);

}  // namespace tristill::jobs
