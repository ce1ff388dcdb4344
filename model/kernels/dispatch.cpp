// Which table runs: asked of the CPU once, overridden by TRISTILL_ISA or force_isa.
#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#include <array>
#include <atomic>
#include <cstdlib>
#include <string_view>

#include "base/log.h"
#include "model/kernels/kernels.h"

namespace tristill::kernels {
namespace {

constexpr size_t kMaxTables = 6;
using Tables = std::array<const KernelTable*, kMaxTables>;

#if defined(__x86_64__)
bool has_avx2() {
  return __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0 &&
         __builtin_cpu_supports("f16c") != 0;
}
// GCC 12 knows no name for it: bit 4 of EAX, leaf 7, subleaf 1.
bool has_avx_vnni() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) != 0 && (eax >> 4 & 1U) != 0;
}
#endif

Tables find_runnable() {
  Tables tables{};
  size_t n = 0;
  tables[n++] = &kScalar;
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (has_avx2()) tables[n++] = &kAvx2;
  if (has_avx2() && has_avx_vnni()) tables[n++] = &kAvxVnni;
  if (__builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512bw") != 0 &&
      __builtin_cpu_supports("avx512vl") != 0 && __builtin_cpu_supports("avx512dq") != 0 &&
      __builtin_cpu_supports("avx512vnni") != 0) {
    tables[n++] = &kAvx512Vnni;
    if (__builtin_cpu_supports("avx512vbmi") != 0) tables[n++] = &kAvx512Vbmi;
  }
#elif defined(__aarch64__)
  if ((getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0) {
    tables[n++] = &kNeon;
    if ((getauxval(AT_HWCAP2) & HWCAP2_I8MM) != 0) tables[n++] = &kNeonI8mm;
  }
#endif
  return tables;
}

const Tables& tables_here() {
  static const Tables tables = find_runnable();
  return tables;
}

// The table of that name, the last (best) one for "auto", nullptr when there is none.
const KernelTable* find(std::string_view name) {
  const KernelTable* found = nullptr;
  for (const auto* table : tables_here()) {
    if (table != nullptr && (name == "auto" || name == table->isa)) found = table;
  }
  return found;
}

const KernelTable* choose_at_start() {
  const char* wanted = std::getenv("TRISTILL_ISA");
  if (wanted == nullptr || *wanted == '\0') return find("auto");
  if (const auto* table = find(wanted)) return table;
  log_warn("TRISTILL_ISA names no kernels that run here; using the best",
           {{"TRISTILL_ISA", wanted}, {"isa", find("auto")->isa}});
  return find("auto");
}

std::atomic<const KernelTable*>& chosen() {
  static std::atomic<const KernelTable*> table{choose_at_start()};
  return table;
}

}  // namespace

const KernelTable& best() { return *chosen().load(std::memory_order_relaxed); }

bool force_isa(const char* name) {
  const auto* table = find(name);
  if (table == nullptr) return false;
  chosen().store(table, std::memory_order_relaxed);
  return true;
}

const KernelTable* const* runnable() { return tables_here().data(); }

}  // namespace tristill::kernels
