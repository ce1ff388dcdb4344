// The lines typed before, kept from one run to the next: a text file of one line an entry that
// only its owner can read. One thread; several programs may append at once.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace tristill::client {

class LineHistory {
 public:
  static constexpr size_t kMaxLines = 1000;

  // No file yet, one that cannot be read or none at all (an empty path) is an empty history.
  explicit LineHistory(std::filesystem::path path);

  const std::vector<std::string>& lines() const { return lines_; }  // the newest last

  // Remembers a line, unless it is blank or repeats the last. False when it cannot be written to
  // the file: it is then remembered for this run.
  bool add(std::string_view line);

 private:
  std::filesystem::path path_;
  std::vector<std::string> lines_;
};

}  // namespace tristill::client
