#include "server/ops/process_metrics.h"

#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <optional>
#include <sstream>

#include "base/atomic_file.h"

namespace tristill::ops {
namespace {

namespace fs = std::filesystem;

// What proc(5) counts from 1: fields of /proc/self/stat behind the program's name, which may hold
// spaces and brackets.
struct ProcessStat {
  double cpu_seconds = 0;            // utime + stime, fields 14 and 15
  double start_after_boot = 0;       // seconds, field 22
  double virtual_bytes = 0;          // field 23
  double resident_bytes = 0;         // field 24, pages
};

std::optional<ProcessStat> read_stat() {
  const auto text = read_file("/proc/self/stat", 1 << 16);
  if (!text) return std::nullopt;
  const size_t name_end = text->rfind(')');
  if (name_end == std::string::npos) return std::nullopt;
  std::istringstream in(text->substr(name_end + 1));
  std::string state;
  in >> state;
  double fields[25] = {};
  for (size_t i = 4; i < 25 && in; ++i) in >> fields[i];
  if (!in) return std::nullopt;
  const auto ticks = static_cast<double>(::sysconf(_SC_CLK_TCK));
  return ProcessStat{(fields[14] + fields[15]) / ticks, fields[22] / ticks, fields[23],
                     fields[24] * static_cast<double>(::sysconf(_SC_PAGESIZE))};
}

// Unix seconds of the machine's start: the line "btime N" of /proc/stat.
std::optional<double> boot_time() {
  const auto text = read_file("/proc/stat", 1 << 22);
  const size_t at = text ? text->find("\nbtime ") : std::string::npos;
  if (at == std::string::npos) return std::nullopt;
  double seconds = 0;
  std::istringstream(text->substr(at + 7)) >> seconds;
  return seconds;
}

}  // namespace

void collect_process(Scrape& scrape) {
  if (const auto stat = read_stat()) {
    scrape.counter("process_cpu_seconds_total", "Processor time used", {}, stat->cpu_seconds);
    scrape.gauge("process_resident_memory_bytes", "Memory in use", {}, stat->resident_bytes);
    scrape.gauge("process_virtual_memory_bytes", "Memory mapped", {}, stat->virtual_bytes);
    if (const auto boot = boot_time()) {
      scrape.gauge("process_start_time_seconds", "Unix time of the start", {},
                   *boot + stat->start_after_boot);
    }
  }
  std::error_code failed;
  const fs::directory_iterator files("/proc/self/fd", failed);
  if (!failed) {
    // One of them is the iterator's own.
    scrape.gauge("process_open_fds", "Open files and sockets", {},
                 static_cast<double>(std::distance(begin(files), end(files)) - 1));
  }
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    scrape.gauge("process_max_fds", "Most files and sockets", {},
                 static_cast<double>(limit.rlim_cur));
  }
}

}  // namespace tristill::ops
