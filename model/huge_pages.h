// HugePages: zeroed memory that is touched in 2 MiB pages where the system allows them
// (transparent huge pages, by madvise): what is read whole at every step costs fewer page walks.
// Memory is reserved at once and used when touched. Owner frees; contents are the user's affair.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tristill {

class HugePages {
 public:
  HugePages() = default;
  explicit HugePages(size_t size);  // bytes; throws std::bad_alloc
  HugePages(HugePages&& other) noexcept;
  HugePages& operator=(HugePages&& other) noexcept;
  HugePages(const HugePages&) = delete;
  HugePages& operator=(const HugePages&) = delete;
  ~HugePages();

  uint8_t* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  uint8_t* data_ = nullptr;
  size_t size_ = 0;    // as asked for
  size_t mapped_ = 0;  // whole huge pages
};

}  // namespace tristill
