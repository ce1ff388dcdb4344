#include "train/trace/shard.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <memory>
#include <optional>

#include "base/atomic_file.h"
#include "base/byte_reader.h"
#include "base/check.h"
#include "base/crc32c.h"
#include "train/trace/fingerprint.h"

// A shard: "TSTRACE1", then records of u32 length, u32 CRC-32C of the payload, payload.
// Payload, little-endian: u8 sampling, u16 teacher length, teacher, 64 bytes tokenizer,
// u32 prompt_tokens, u32 n_tokens, i32 tokens[n], then for each token u8 k and k times
// (i32 id, f32 logprob).

namespace tristill::trace {
namespace {

constexpr std::string_view kMagic = "TSTRACE1";
constexpr size_t kRecordHead = 8;
constexpr size_t kScanBytes = size_t{1} << 20;
// From a record's beginning to the end of its tokenizer, at most.
constexpr size_t kScanAhead = kRecordHead + 1 + 2 + UINT16_MAX + kFingerprintDigits;

template <class T>
void put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

std::string encode(const Record& record) {
  CHECK(record.tokenizer.size() == kFingerprintDigits && record.teacher.size() <= UINT16_MAX);
  CHECK(!record.tokens.empty() && record.tokens.size() <= kMaxRecordTokens);
  CHECK(record.top_logprobs.size() == record.tokens.size());
  std::string out;
  put(out, static_cast<uint8_t>(record.sampling));
  put(out, static_cast<uint16_t>(record.teacher.size()));
  out += record.teacher;
  out += record.tokenizer;
  put(out, record.prompt_tokens);
  put(out, static_cast<uint32_t>(record.tokens.size()));
  for (const int32_t token : record.tokens) put(out, token);
  for (const auto& position : record.top_logprobs) {
    CHECK(position.size() <= kMaxTopLogprobs);
    put(out, static_cast<uint8_t>(position.size()));
    for (const TopLogprob& entry : position) {
      put(out, entry.token);
      put(out, entry.logprob);
    }
  }
  return out;
}

// A CRC tells rot, not lies: values are checked as those of POST /traces are.
bool decode(std::string_view payload, Record& record) {
  ByteReader in(std::as_bytes(std::span(payload)));
  const uint8_t sampling = in.u8();
  record.teacher = std::string(in.text(in.u16()));
  record.tokenizer = std::string(in.text(kFingerprintDigits));
  record.prompt_tokens = in.u32();
  const uint32_t n_tokens = in.u32();
  if (!in.ok() || sampling > static_cast<uint8_t>(Sampling::t1)) return false;
  if (n_tokens == 0 || n_tokens > in.remaining() / 4 || record.prompt_tokens > n_tokens)
    return false;
  record.sampling = static_cast<Sampling>(sampling);
  record.tokens.resize(n_tokens);
  for (int32_t& token : record.tokens) {
    token = in.read<int32_t>();
    if (token < 0) return false;
  }
  record.top_logprobs.resize(n_tokens);
  for (auto& position : record.top_logprobs) {
    position.resize(in.u8());
    if (position.size() > kMaxTopLogprobs) return false;
    for (TopLogprob& entry : position) {
      entry.token = in.read<int32_t>();
      entry.logprob = in.f32();
      if (entry.token < 0 || !std::isfinite(entry.logprob) || entry.logprob > 0) return false;
    }
  }
  return in.ok() && in.remaining() == 0;
}

// Whether a record of at most `room` bytes may begin with these bytes, all of which lie within the
// room. Almost never by chance: the digits of a tokenizer stand where they belong.
bool may_begin_record(std::string_view bytes, uint64_t room) {
  ByteReader in(std::as_bytes(std::span(bytes)));
  const uint32_t length = in.u32();
  if (length < kFingerprintDigits || length > room) return false;
  in.take(sizeof(uint32_t));  // the CRC
  if (in.u8() > static_cast<uint8_t>(Sampling::t1)) return false;
  in.take(in.u16());  // the teacher
  const std::string_view tokenizer = in.text(kFingerprintDigits);
  return in.ok() && is_fingerprint(tokenizer);
}

Error system_error(const char* what, const std::filesystem::path& path) {
  const bool full = errno == ENOSPC || errno == EDQUOT || errno == EFBIG;
  const auto code = full              ? ErrorCode::resource_exhausted
                    : errno == ENOENT ? ErrorCode::not_found
                                      : ErrorCode::unavailable;
  return {code, std::string("cannot ") + what + " " + path.string() + ": " + std::strerror(errno),
          "traces"};
}

// Reads a shard front to back, without mapping it: an append that fails cuts the file shorter,
// and mapped bytes that are gone would fault.
class ShardReader {
 public:
  static Result<ShardReader> open(const std::filesystem::path& path) {
    ShardReader reader;
    reader.file_.reset(std::fopen(path.c_str(), "rbe"));
    struct stat info{};
    if (!reader.file_ || ::fstat(::fileno(reader.file_.get()), &info) != 0) {
      return system_error("open", path);
    }
    if (!S_ISREG(info.st_mode)) {
      return Error{ErrorCode::corrupt, path.string() + " is no trace shard", "traces"};
    }
    reader.size_ = static_cast<uint64_t>(info.st_size);
    const std::string head = reader.take(std::min<uint64_t>(kMagic.size(), reader.size_));
    if (head != kMagic.substr(0, head.size())) {
      return Error{ErrorCode::corrupt, path.string() + " is no trace shard", "traces"};
    }
    if (head.size() == kMagic.size()) reader.whole_ = kMagic.size();
    return reader;
  }

  // The next whole record's payload; nothing at the end, at a torn one or when reading fails.
  std::optional<std::string> next() {
    if (whole_ < kMagic.size()) return std::nullopt;
    auto payload = take_record(size_ - whole_);
    if (payload) whole_ += kRecordHead + payload->size();
    return payload;
  }

  // Whether a whole record begins anywhere behind the one at which next() has ended: its length
  // may be what rotted. Ends the reading.
  bool is_followed() {
    if (whole_ < kMagic.size()) return false;
    for (uint64_t at = whole_ + 1; at < size_; at += kScanBytes) {
      seek(at);
      const std::string bytes = take(std::min<uint64_t>(size_ - at, kScanBytes + kScanAhead));
      for (size_t i = 0; i < std::min(bytes.size(), kScanBytes); ++i) {
        const uint64_t room = size_ - at - i;
        if (!may_begin_record(std::string_view(bytes).substr(i), room)) continue;
        seek(at + i);
        if (take_record(room)) return true;
      }
    }
    return false;
  }

  // Bytes up to the end of the last whole record; 0 where not even the magic is whole.
  uint64_t whole() const { return whole_; }
  uint64_t size() const { return size_; }
  bool failed() const { return std::ferror(file_.get()) != 0; }

 private:
  void seek(uint64_t offset) { std::fseek(file_.get(), static_cast<long>(offset), SEEK_SET); }

  // The payload of the whole record that begins here, `room` bytes before the end.
  std::optional<std::string> take_record(uint64_t room) {
    if (room < kRecordHead) return std::nullopt;
    const std::string head = take(kRecordHead);
    ByteReader in(std::as_bytes(std::span(head)));
    const uint32_t length = in.u32();
    const uint32_t crc = in.u32();
    if (!in.ok() || length == 0 || length > room - kRecordHead) return std::nullopt;
    std::string payload = take(length);
    if (payload.size() != length || crc32c(payload) != crc) return std::nullopt;
    return payload;
  }

  std::string take(uint64_t n) {
    std::string bytes(n, '\0');
    bytes.resize(std::fread(bytes.data(), 1, bytes.size(), file_.get()));
    return bytes;
  }

  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  std::unique_ptr<std::FILE, Close> file_;
  uint64_t size_ = 0;
  uint64_t whole_ = 0;
};

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

// Where new records go: after the last whole one, or 0 for a new file. What is behind that and is
// no torn tail is an error: to cut it off would lose whole records.
Result<uint64_t> end_of_whole(const std::filesystem::path& path) {
  auto reader = ShardReader::open(path);
  if (!reader && reader.error().code == ErrorCode::not_found) return uint64_t{0};
  if (!reader) return reader.error();
  uint64_t n_whole = 0;
  while (reader->next()) ++n_whole;
  const bool is_damaged = reader->is_followed();
  if (reader->failed()) return system_error("read", path);
  if (is_damaged) return damaged_shard(path, n_whole + 1);
  return reader->whole();
}

}  // namespace

Result<void> append_records(const std::filesystem::path& path, std::span<const Record> records) {
  const auto end = end_of_whole(path);
  if (!end) return end.error();
  std::string bytes;
  if (*end == 0) bytes = kMagic;
  for (const Record& record : records) {
    const std::string payload = encode(record);
    put(bytes, static_cast<uint32_t>(payload.size()));
    put(bytes, crc32c(payload));
    bytes += payload;
  }
  const Descriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
  if (file.get() < 0) return system_error("open", path);
  const auto offset = static_cast<off_t>(*end);
  if (::ftruncate(file.get(), offset) != 0 || ::lseek(file.get(), offset, SEEK_SET) != offset) {
    return system_error("prepare", path);
  }
  auto done = write_all(file.get(), bytes, path);
  if (done) done = sync_file(file.get(), path);
  if (done) done = sync_folder(path.has_parent_path() ? path.parent_path() : ".");
  if (done) return done;
  // What was written of this call must not be read later as if it had been accepted.
  if (::ftruncate(file.get(), offset) != 0) return system_error("cut back", path);
  if (auto cut = sync_file(file.get(), path); !cut) return cut;
  return done;
}

Result<ShardSummary> read_shard(const std::filesystem::path& path,
                                const std::function<void(Record&&)>& visit) {
  auto reader = ShardReader::open(path);
  if (!reader) return reader.error();
  ShardSummary summary;
  bool whole = true;
  while (const auto payload = reader->next()) {
    Record record;
    whole = decode(*payload, record);
    if (!whole) break;
    ++summary.records;
    summary.tokens += record.tokens.size();
    for (const auto& position : record.top_logprobs) {
      summary.scored_tokens += position.empty() ? 0 : 1;
    }
    visit(std::move(record));
  }
  const bool is_damaged = !whole || reader->is_followed();
  if (reader->failed()) return system_error("read", path);
  summary.bytes = reader->whole();
  summary.torn_tail = !whole || reader->whole() != reader->size();
  if (is_damaged) summary.damaged_at = summary.records + 1;
  return summary;
}

Error damaged_shard(const std::filesystem::path& path, uint64_t record) {
  return {ErrorCode::corrupt,
          "record " + std::to_string(record) + " of " + path.string() +
              " is damaged: nothing behind it is read, nothing is appended or cut off; upload "
              "under another name, or delete this set and upload it again",
          "traces"};
}

}  // namespace tristill::trace
