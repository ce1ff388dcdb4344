// Reads little-endian values from untrusted bytes. Sticky: a read past the end gives zero and
// makes ok() false for good, so a record is read whole and checked once. One thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

namespace tristill {

class ByteReader {
 public:
  explicit ByteReader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  uint8_t u8() { return read<uint8_t>(); }
  uint16_t u16() { return read<uint16_t>(); }
  uint32_t u32() { return read<uint32_t>(); }
  uint64_t u64() { return read<uint64_t>(); }
  float f32() { return read<float>(); }

  // A value of trivial type, or zero when too few bytes are left.
  template <class T>
  T read() {
    T value{};
    const auto from = take(sizeof(T));
    if (from.size() == sizeof(T)) std::memcpy(&value, from.data(), sizeof(T));
    return value;
  }

  // The next n bytes, or none when fewer are left.
  std::span<const std::byte> take(uint64_t n) {
    if (!ok_ || n > bytes_.size() - position_) {
      ok_ = false;
      return {};
    }
    const auto part = bytes_.subspan(position_, n);
    position_ += n;
    return part;
  }
  std::string_view text(uint64_t n) {
    const auto part = take(n);
    return {reinterpret_cast<const char*>(part.data()), part.size()};
  }
  void align(size_t alignment) {
    const size_t rest = position_ % alignment;
    if (rest != 0) take(alignment - rest);
  }

  bool ok() const { return ok_; }
  size_t position() const { return position_; }
  size_t remaining() const { return bytes_.size() - position_; }

 private:
  std::span<const std::byte> bytes_;
  size_t position_ = 0;
  bool ok_ = true;
};

}  // namespace tristill
