#include "train/job/model_sizes.h"

#include <array>
#include <iomanip>
#include <sstream>
#include <vector>

#include "base/atomic_file.h"
#include "train/job/spec.h"

namespace tristill::job {

Result<std::string> table_of_sizes(std::span<const std::filesystem::path> files) {
  constexpr int kName = 24;
  constexpr int kNumber = 16;
  std::ostringstream table;
  table << std::left << std::setw(kName) << "MODEL" << std::right;
  for (const char* title : {"PARAMETERS", "TERNARY", "FILE BYTES", "KV BYTES/TOKEN"}) {
    table << std::setw(kNumber) << title;
  }
  table << "\n";
  for (const std::filesystem::path& file : files) {
    const auto text = read_file(file);
    if (!text) return text.error();
    const auto config = parse_model_config(*text);
    if (!config) {
      return Error{config.error().code, file.string() + ": " + config.error().message,
                   config.error().param};
    }
    const ParameterCounts counts = count_parameters(*config);
    table << std::left << std::setw(kName) << file.stem().string() << std::right;
    for (const uint64_t number :
         {counts.total(), counts.ternary, stored_bytes(*config), kv_bytes_per_token(*config)}) {
      table << std::setw(kNumber) << number;
    }
    table << "\n";
  }
  return std::move(table).str();
}

}  // namespace tristill::job
