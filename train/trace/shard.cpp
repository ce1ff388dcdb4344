#include "train/trace/shard.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/atomic_file.h"
#include "base/byte_reader.h"
#include "base/crc32c.h"
#include "base/mapped_file.h"

// A shard: "TSTRACE1", then records of u32 length, u32 CRC-32C of the payload, payload.
// Payload, little-endian: u8 sampling, u16 teacher length, teacher, 64 bytes tokenizer,
// u32 prompt_tokens, u32 n_tokens, i32 tokens[n], then for each token u8 k and k times
// (i32 id, f32 logprob).

namespace tristill::trace {
namespace {

constexpr std::string_view kMagic = "TSTRACE1";
constexpr size_t kFingerprint = 64;
constexpr size_t kRecordHead = 8;

template <class T>
void put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

std::string encode(const Record& record) {
  std::string out;
  put(out, static_cast<uint8_t>(record.sampling));
  put(out, static_cast<uint16_t>(record.teacher.size()));
  out += record.teacher;
  out += record.tokenizer;
  put(out, record.prompt_tokens);
  put(out, static_cast<uint32_t>(record.tokens.size()));
  for (const int32_t token : record.tokens) put(out, token);
  for (const auto& position : record.top_logprobs) {
    put(out, static_cast<uint8_t>(position.size()));
    for (const TopLogprob& entry : position) {
      put(out, entry.token);
      put(out, entry.logprob);
    }
  }
  return out;
}

bool decode(std::span<const std::byte> payload, Record& record) {
  ByteReader in(payload);
  const uint8_t sampling = in.u8();
  record.teacher = std::string(in.text(in.u16()));
  record.tokenizer = std::string(in.text(kFingerprint));
  record.prompt_tokens = in.u32();
  const uint32_t n_tokens = in.u32();
  if (!in.ok() || sampling > static_cast<uint8_t>(Sampling::t1) || n_tokens > in.remaining() / 4)
    return false;
  record.sampling = static_cast<Sampling>(sampling);
  record.tokens.resize(n_tokens);
  for (int32_t& token : record.tokens) token = in.read<int32_t>();
  record.top_logprobs.resize(n_tokens);
  for (auto& position : record.top_logprobs) {
    position.resize(in.u8());
    if (position.size() > kMaxTopLogprobs) return false;
    for (TopLogprob& entry : position) {
      entry.token = in.read<int32_t>();
      entry.logprob = in.f32();
    }
  }
  return in.ok() && in.remaining() == 0;
}

// The next whole record's payload; empty at the end or at a torn one.
std::span<const std::byte> next_payload(ByteReader& in) {
  const uint32_t length = in.u32();
  const uint32_t crc = in.u32();
  const auto payload = in.take(length);
  if (!in.ok() || length == 0) return {};
  if (crc32c({reinterpret_cast<const char*>(payload.data()), payload.size()}) != crc) return {};
  return payload;
}

// Bytes up to the end of the last whole record.
size_t whole_bytes(std::span<const std::byte> file) {
  ByteReader in(file);
  in.take(kMagic.size());
  size_t whole = in.position();
  while (in.remaining() >= kRecordHead && !next_payload(in).empty()) whole = in.position();
  return whole;
}

Error system_error(const char* what, const std::filesystem::path& path) {
  const bool full = errno == ENOSPC || errno == EDQUOT || errno == EFBIG;
  return {full ? ErrorCode::resource_exhausted : ErrorCode::unavailable,
          std::string("cannot ") + what + " " + path.string() + ": " + std::strerror(errno),
          "traces"};
}

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

// Where new records go: after the last whole one, or 0 for a new file.
Result<size_t> end_of_whole(const std::filesystem::path& path) {
  std::error_code none;
  if (!std::filesystem::exists(path, none)) return size_t{0};
  const auto mapped = MappedFile::open(path);
  if (!mapped) return mapped.error();
  const auto bytes = mapped->bytes();
  if (bytes.size() < kMagic.size()) return size_t{0};  // torn while it was created
  if (std::memcmp(bytes.data(), kMagic.data(), kMagic.size()) != 0) {
    return Error{ErrorCode::corrupt, path.string() + " is no trace shard", "traces"};
  }
  return whole_bytes(bytes);
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
  if (done) return sync_folder(path.parent_path());
  // What was written of this call must not be read later as if it had been accepted.
  if (::ftruncate(file.get(), offset) != 0) return system_error("cut back", path);
  return done;
}

Result<ShardSummary> read_shard(const std::filesystem::path& path,
                                const std::function<void(Record&&)>& visit) {
  const auto mapped = MappedFile::open(path);
  if (!mapped) return mapped.error();
  ByteReader in(mapped->bytes());
  if (in.text(kMagic.size()) != kMagic) {
    return Error{ErrorCode::corrupt, path.string() + " is no trace shard", "traces"};
  }
  ShardSummary summary;
  while (in.remaining() > 0) {
    const auto payload = next_payload(in);
    Record record;
    if (payload.empty() || !decode(payload, record)) {
      summary.torn_tail = true;
      break;
    }
    ++summary.records;
    summary.tokens += record.tokens.size();
    for (const auto& position : record.top_logprobs)
      summary.scored_tokens += position.empty() ? 0 : 1;
    visit(std::move(record));
  }
  return summary;
}

}  // namespace tristill::trace
