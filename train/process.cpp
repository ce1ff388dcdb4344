#include "train/process.h"

#include <unistd.h>

#include <cstdlib>
#include <string_view>

namespace tristill::train {
namespace {

struct Variable {
  const char* name;
  const char* value;
};

constexpr Variable kWanted[] = {
    {"OMP_WAIT_POLICY", "passive"},           {"OPENBLAS_NUM_THREADS", "1"},
    {"MALLOC_MMAP_THRESHOLD_", "4294967296"}, {"MALLOC_TRIM_THRESHOLD_", "17179869184"},
    {"MALLOC_TOP_PAD_", "268435456"},
};

bool has_avx512() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
#else
  return false;
#endif
}

bool set_if_missing(const char* name, const char* value) {
  if (std::getenv(name) != nullptr) return false;
  return ::setenv(name, value, 1) == 0;
}

}  // namespace

void ensure_environment(char** argv) {
  bool changed = false;
  for (const Variable& variable : kWanted) changed |= set_if_missing(variable.name, variable.value);
  if (has_avx512()) changed |= set_if_missing("OPENBLAS_CORETYPE", "SKYLAKEX");
  // A failed exec is harmless: training then runs, only slower.
  if (changed) ::execv("/proc/self/exe", argv);
}

}  // namespace tristill::train
