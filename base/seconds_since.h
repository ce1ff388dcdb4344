// How long ago something began, for reports. Any thread.
#pragma once

#include <chrono>

namespace tristill {

inline double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace tristill
