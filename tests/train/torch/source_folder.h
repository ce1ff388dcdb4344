// A corpus of small Python files, all of them different, for tests that run jobs.
#pragma once

#include <filesystem>
#include <fstream>
#include <string>

namespace tristill::train {

inline void write_sources(const std::filesystem::path& folder, int files) {
  std::filesystem::create_directories(folder);
  for (int i = 0; i < files; ++i) {
    std::ofstream out(folder / ("m" + std::to_string(i) + ".py"));
    for (int j = 0; j < 40; ++j) {
      out << "def function_" << i << "_" << j << "(value, other=" << j * i << "):\n"
          << "    if value > " << j << ":\n        return value + other\n    return other\n\n";
    }
  }
}

}  // namespace tristill::train
