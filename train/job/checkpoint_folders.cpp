#include "train/job/checkpoint_folders.h"

#include <algorithm>
#include <string>
#include <system_error>

namespace tristill::job {
namespace {

namespace fs = std::filesystem;

bool is_checkpoint_name(const std::string& name) {
  return !name.empty() && name.size() <= 18 &&  // a step is an int64
         std::all_of(name.begin(), name.end(), [](char c) { return c >= '0' && c <= '9'; });
}

}  // namespace

int64_t step_of(const fs::path& checkpoint) { return std::stoll(checkpoint.filename().string()); }

std::vector<fs::path> list_checkpoints(const fs::path& folder) {
  std::vector<fs::path> found;
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(folder, none)) {
    if (is_checkpoint_name(entry.path().filename().string())) found.push_back(entry.path());
  }
  std::sort(found.begin(), found.end(),
            [](const fs::path& a, const fs::path& b) { return step_of(a) > step_of(b); });
  return found;
}

}  // namespace tristill::job
