// CHECK(cond): a belief about our own code, always compiled in. A false one is our defect:
// it throws Defect, the one request or job fails, the process lives. Not for bad input.
#pragma once

#include <stdexcept>
#include <string>

namespace tristill {

class Defect : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

[[noreturn]] inline void throw_defect(const char* condition, const char* file, int line) {
  throw Defect(std::string(file) + ":" + std::to_string(line) + ": CHECK(" + condition +
               ") failed");
}

}  // namespace tristill

#define CHECK(condition)                                                        \
  do {                                                                          \
    if (!(condition)) ::tristill::throw_defect(#condition, __FILE__, __LINE__); \
  } while (false)
