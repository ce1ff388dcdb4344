#include "train/convert/zip_archive.h"

#include <algorithm>
#include <optional>

#include "base/byte_reader.h"

namespace tristill::convert {
namespace {

using Bytes = std::span<const std::byte>;

constexpr uint32_t kLocalHeader = 0x04034b50;
constexpr uint32_t kCentralHeader = 0x02014b50;
constexpr uint32_t kEnd = 0x06054b50;
constexpr uint32_t kEnd64 = 0x06064b50;
constexpr uint32_t kLocator64 = 0x07064b50;
constexpr size_t kEndBytes = 22;
constexpr size_t kLocator64Bytes = 20;
constexpr size_t kLongestComment = 65535;
constexpr uint16_t kExtra64 = 1;
constexpr uint32_t kIn64 = 0xFFFFFFFF;  // the number stands in the ZIP64 field

Error corrupt(std::string what) {
  return {ErrorCode::corrupt, "zip: " + std::move(what), "init_from_weights"};
}

// From an offset on; empty past the end.
Bytes from(Bytes file, uint64_t offset) {
  return offset <= file.size() ? file.subspan(offset) : Bytes{};
}

// The record at the file's end stands before a comment of any length.
std::optional<size_t> find_end(Bytes file) {
  if (file.size() < kEndBytes) return std::nullopt;
  const size_t last = file.size() - kEndBytes;
  const size_t first = last > kLongestComment ? last - kLongestComment : 0;
  for (size_t at = last + 1; at-- > first;) {
    if (ByteReader(file.subspan(at)).u32() == kEnd) return at;
  }
  return std::nullopt;
}

struct Directory {
  uint64_t offset = 0, entries = 0;
};

Result<Directory> find_directory(Bytes file) {
  const auto end = find_end(file);
  if (!end) return corrupt("no record of the archive's end: the file is cut off, or none");
  ByteReader in(file.subspan(*end));
  in.take(10);
  Directory directory;
  directory.entries = in.u16();
  in.u32();
  directory.offset = in.u32();
  if (*end < kLocator64Bytes) return directory;
  ByteReader locator(file.subspan(*end - kLocator64Bytes));
  if (locator.u32() != kLocator64) return directory;
  locator.u32();
  ByteReader large(from(file, locator.u64()));
  if (large.u32() != kEnd64) return corrupt("the ZIP64 record is not where it should be");
  large.take(28);
  directory.entries = large.u64();
  large.u64();
  directory.offset = large.u64();
  if (!large.ok()) return corrupt("the ZIP64 record is cut off");
  return directory;
}

struct Entry {
  std::string name;
  uint16_t method = 0;
  uint64_t packed = 0, size = 0, offset = 0;
};

void read_extra(Bytes extra, Entry& entry) {
  ByteReader in(extra);
  while (in.ok() && in.remaining() >= 4) {
    const uint16_t id = in.u16();
    ByteReader field(in.take(in.u16()));
    if (id != kExtra64) continue;
    for (uint64_t* number : {&entry.size, &entry.packed, &entry.offset}) {
      if (*number == kIn64) *number = field.u64();
    }
  }
}

Entry read_entry(ByteReader& in) {
  Entry entry;
  in.take(6);
  entry.method = in.u16();
  in.take(8);
  entry.packed = in.u32();
  entry.size = in.u32();
  const uint16_t name = in.u16();
  const uint16_t extra = in.u16();
  const uint16_t comment = in.u16();
  in.take(8);
  entry.offset = in.u32();
  entry.name = in.text(name);
  read_extra(in.take(extra), entry);
  in.take(comment);
  return entry;
}

// The member's bytes follow a header of their own, whose fields may be longer than the directory's.
std::optional<Bytes> data_of(Bytes file, const Entry& entry) {
  ByteReader in(from(file, entry.offset));
  if (in.u32() != kLocalHeader) return std::nullopt;
  in.take(22);
  const uint16_t name = in.u16();
  const uint16_t extra = in.u16();
  in.take(uint64_t{name} + extra);
  const Bytes data = in.take(entry.size);
  if (!in.ok()) return std::nullopt;
  return data;
}

}  // namespace

bool is_zip(Bytes file) { return ByteReader(file).u32() == kLocalHeader; }

Result<ZipMembers> read_zip(Bytes file) {
  const auto directory = find_directory(file);
  if (!directory) return directory.error();
  ByteReader in(from(file, directory->offset));
  ZipMembers members;
  for (uint64_t i = 0; i < directory->entries; ++i) {
    if (in.u32() != kCentralHeader) return corrupt("the directory is cut off");
    const Entry entry = read_entry(in);
    if (!in.ok()) return corrupt("the directory is cut off");
    if (entry.method != 0 || entry.packed != entry.size) {
      return Error{ErrorCode::invalid_argument,
                   "zip: " + entry.name +
                       " is compressed; save the checkpoint with torch.save, "
                       "which stores it as it is",
                   "init_from_weights"};
    }
    const auto data = data_of(file, entry);
    if (!data) return corrupt("member " + entry.name + " lies outside of the file");
    members.emplace(entry.name, *data);
  }
  return members;
}

}  // namespace tristill::convert
