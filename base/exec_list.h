// Arguments or environment of a program as exec and posix_spawn take them. Any thread.
#pragma once

#include <string>
#include <vector>

namespace tristill {

// Pointers to the texts, which must outlive them unchanged, and a null behind the last.
inline std::vector<char*> exec_list(std::vector<std::string>& texts) {
  std::vector<char*> list;
  for (std::string& text : texts) list.push_back(text.data());
  list.push_back(nullptr);
  return list;
}

}  // namespace tristill
