#include "model/huge_pages.h"

#include <sys/mman.h>

#include <new>
#include <utility>

namespace tristill {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

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
