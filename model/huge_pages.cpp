#include "model/huge_pages.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <new>
#include <utility>

namespace tristill {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

// On a machine of several memory nodes pages go round all of them: every thread of a team reads all
// weights, so no node is nearer to them than another. Where the system refuses, it stays as it is.
void interleave(void* memory, size_t size) {
  constexpr int kInterleave = 3;  // MPOL_INTERLEAVE, linux/mempolicy.h
  constexpr unsigned kAllowedNodes = 4;  // MPOL_F_MEMS_ALLOWED
  constexpr unsigned long kNodes = 1024;
  std::array<unsigned long, kNodes / (8 * sizeof(unsigned long))> nodes{};
  if (syscall(SYS_get_mempolicy, nullptr, nodes.data(), kNodes, nullptr, kAllowedNodes) != 0) {
    return;
  }
  int n_nodes = 0;
  for (const unsigned long word : nodes) n_nodes += std::popcount(word);
  if (n_nodes > 1) syscall(SYS_mbind, memory, size, kInterleave, nodes.data(), kNodes, 0U);
}

}  // namespace

HugePages::HugePages(size_t size) : size_(size) {
  if (size == 0) return;
  if (size > SIZE_MAX - 2 * kHugePage) throw std::bad_alloc();
  mapped_ = (size + kHugePage - 1) / kHugePage * kHugePage;
  // One more, so that a border of huge pages can be chosen inside.
  const size_t reserved = mapped_ + kHugePage;
  void* const start = mmap(nullptr, reserved, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (start == MAP_FAILED) throw std::bad_alloc();
  const auto address = reinterpret_cast<uintptr_t>(start);
  const size_t before = (kHugePage - address % kHugePage) % kHugePage;
  data_ = static_cast<uint8_t*>(start) + before;
  if (before > 0) munmap(start, before);
  if (before < kHugePage) munmap(data_ + mapped_, kHugePage - before);
  interleave(data_, mapped_);
  // Small memories would be rounded up to a whole huge page in use: they stay as they are.
  if (size >= kHugePage) madvise(data_, size / kHugePage * kHugePage, MADV_HUGEPAGE);
}

HugePages::HugePages(HugePages&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      mapped_(std::exchange(other.mapped_, 0)) {}

HugePages& HugePages::operator=(HugePages&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(mapped_, other.mapped_);
  return *this;
}

HugePages::~HugePages() {
  if (data_ != nullptr) munmap(data_, mapped_);
}

}  // namespace tristill
