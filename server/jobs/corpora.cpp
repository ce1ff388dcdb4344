#include "server/jobs/corpora.h"

#include <algorithm>
#include <charconv>
#include <system_error>

#include "base/name.h"

namespace tristill::jobs {
namespace {

namespace fs = std::filesystem;

// N of a folder called python3.N, or -1.
int minor_version(const std::string& folder) {
  constexpr std::string_view kPrefix = "python3.";
  if (!folder.starts_with(kPrefix)) return -1;
  int minor = -1;
  const char* end = folder.data() + folder.size();
  const auto parsed = std::from_chars(folder.data() + kPrefix.size(), end, minor);
  return parsed.ec == std::errc{} && parsed.ptr == end ? minor : -1;
}

}  // namespace

std::optional<fs::path> find_python_stdlib(const std::vector<fs::path>& prefixes) {
  std::optional<fs::path> newest;
  int newest_minor = -1;
  for (const fs::path& prefix : prefixes) {
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(prefix / "lib", error)) {
      const int minor = minor_version(entry.path().filename().string());
      std::error_code ignored;
      if (minor <= newest_minor || !fs::exists(entry.path() / "os.py", ignored)) continue;
      newest = entry.path();
      newest_minor = minor;
    }
  }
  return newest;
}

std::optional<fs::path> find_corpus(const fs::path& data_dir, const std::string& name) {
  if (!is_name(name)) return std::nullopt;
  std::error_code error;
  const fs::path folder = fs::absolute(data_dir / "corpora" / name, error);
  if (!error && fs::is_directory(folder, error)) return folder;
  if (name == kPythonStdlib) return find_python_stdlib();
  return std::nullopt;
}

std::vector<std::string> known_corpora(const fs::path& data_dir) {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(data_dir / "corpora", error)) {
    std::error_code ignored;
    const std::string name = entry.path().filename().string();
    if (is_name(name) && entry.is_directory(ignored)) names.push_back(name);
  }
  if (find_python_stdlib()) names.push_back(kPythonStdlib);
  std::ranges::sort(names);
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

}  // namespace tristill::jobs
