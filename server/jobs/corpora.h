// Named folders of source files that jobs may train on: DATA/corpora/NAME, and "python-stdlib",
// the standard library of the machine's newest python3. Any thread; looks at the disk each time.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace tristill::jobs {

inline constexpr const char* kPythonStdlib = "python-stdlib";

// The newest <prefix>/lib/python3.N that holds os.py, of /usr and /usr/local.
std::optional<std::filesystem::path> find_python_stdlib(
    const std::vector<std::filesystem::path>& prefixes = {"/usr", "/usr/local"});

// The folder of a corpus, absolute; nothing when there is none of that name.
std::optional<std::filesystem::path> find_corpus(const std::filesystem::path& data_dir,
                                                 const std::string& name);

// All names that find_corpus knows, sorted.
std::vector<std::string> known_corpora(const std::filesystem::path& data_dir);

}  // namespace tristill::jobs
