#include "model/engine/prefix_store.h"

#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "base/atomic_file.h"
#include "base/mapped_file.h"

namespace tristill::engine {
namespace {

constexpr std::string_view kMagic = "tristill prefix cache 1\n";
constexpr size_t kIdentityBytes = 64;
static_assert(sizeof(TokenId) == 4);

// Behind the magic and the identity, little-endian; then n_blocks of Entry and block_bytes each,
// then XXH3 (64 bits) of all before.
struct Header {
  uint64_t block_bytes;
  uint64_t n_blocks;
};
struct Entry {
  uint32_t parent;
  std::array<TokenId, kKvBlockTokens> tokens;
};

template <class T>
std::string_view bytes_of(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof(value)};
}

// Writes and hashes.
class Writer {
 public:
  explicit Writer(AtomicFile& file) : file_(file) { XXH3_64bits_reset(&hash_); }
  void add(std::string_view bytes) {
    XXH3_64bits_update(&hash_, bytes.data(), bytes.size());
    if (done_) done_ = file_.append(bytes);
  }
  Result<void> finish() {
    const uint64_t digest = XXH3_64bits_digest(&hash_);
    add(bytes_of(digest));
    return done_ ? file_.commit() : done_;
  }
  bool failed() const { return !done_; }

 private:
  AtomicFile& file_;
  XXH3_state_t hash_;
  Result<void> done_;
};

std::string padded(const std::string& identity) {
  std::string text = identity.substr(0, kIdentityBytes);
  text.resize(kIdentityBytes, '\0');
  return text;
}

Error damaged(const std::filesystem::path& path, const std::string& what) {
  return {ErrorCode::invalid_argument, "the prefix cache " + path.string() + " " + what, "path"};
}

// A cursor over a file's bytes, whose length was checked.
template <class T>
T take(std::string_view& bytes) {
  T value;
  std::memcpy(&value, bytes.data(), sizeof(T));
  bytes.remove_prefix(sizeof(T));
  return value;
}

// The entries of a file that is whole, and what it was said to be of.
Result<std::pair<Header, std::string_view>> open_entries(const std::filesystem::path& path,
                                                         std::string_view bytes,
                                                         const std::string& identity,
                                                         uint64_t block_bytes) {
  constexpr size_t kFixed = kMagic.size() + kIdentityBytes + sizeof(Header);
  if (bytes.size() < kFixed + sizeof(uint64_t)) return damaged(path, "is cut off");
  const std::string_view hashed = bytes.substr(0, bytes.size() - sizeof(uint64_t));
  std::string_view tail = bytes.substr(hashed.size());
  if (!bytes.starts_with(kMagic)) return damaged(path, "is of another format");
  if (bytes.substr(kMagic.size(), kIdentityBytes) != padded(identity)) {
    return damaged(path, "belongs to another model or cache format");
  }
  if (take<uint64_t>(tail) != XXH3_64bits(hashed.data(), hashed.size())) {
    return damaged(path, "is damaged: its hash is another");
  }
  std::string_view rest = hashed.substr(kMagic.size() + kIdentityBytes);
  const auto header = take<Header>(rest);
  const uint64_t entry = sizeof(Entry) + block_bytes;
  if (header.block_bytes != block_bytes || rest.size() % entry != 0 ||
      header.n_blocks != rest.size() / entry) {
    return damaged(path, "has blocks of another size");
  }
  return std::pair{header, rest};
}

}  // namespace

Result<uint32_t> save_prefixes(const std::filesystem::path& path, const std::string& identity,
                               const PrefixIndex& index, Backend& backend, uint64_t block_bytes,
                               uint64_t most_bytes) {
  const auto most = static_cast<uint32_t>(
      std::min<uint64_t>(most_bytes / (block_bytes + sizeof(Entry)), UINT32_MAX));
  const auto list = index.most_recent(most);
  auto file = AtomicFile::create(path);
  if (!file) return file.error();
  Writer writer(*file);
  writer.add(kMagic);
  writer.add(padded(identity));
  writer.add(bytes_of(Header{block_bytes, list.size()}));
  std::vector<uint8_t> block(block_bytes);
  for (const PrefixIndex::Known& known : list) {
    if (writer.failed()) break;
    writer.add(bytes_of(Entry{known.parent, known.tokens}));
    backend.read_block(known.block, block);
    writer.add({reinterpret_cast<const char*>(block.data()), block.size()});
  }
  if (auto done = writer.finish(); !done) return done.error();
  return static_cast<uint32_t>(list.size());
}

void keep_newest(const std::filesystem::path& folder, size_t n) {
  std::error_code failed;
  std::vector<std::pair<std::filesystem::file_time_type, std::filesystem::path>> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder, failed)) {
    if (entry.path().extension() != ".kv") continue;
    const auto written = entry.last_write_time(failed);
    if (!failed) files.emplace_back(written, entry.path());
  }
  std::sort(files.begin(), files.end());
  for (size_t i = 0; i + n < files.size(); ++i) std::filesystem::remove(files[i].second, failed);
}

Result<uint32_t> load_prefixes(const std::filesystem::path& path, const std::string& identity,
                               PrefixIndex& index, KvCache& cache, Backend& backend,
                               uint64_t block_bytes) {
  auto file = MappedFile::open(path);
  if (!file) return file.error();
  const std::string_view bytes(reinterpret_cast<const char*>(file->bytes().data()),
                               file->bytes().size());
  auto entries = open_entries(path, bytes, identity, block_bytes);
  if (!entries) return entries.error();
  auto [header, rest] = *entries;
  std::vector<PrefixIndex::Known> list;
  std::set<std::pair<uint32_t, std::array<TokenId, kKvBlockTokens>>> known;
  const auto give_back = [&] {
    for (const auto& one : list) cache.release(one.block);
  };
  while (list.size() < header.n_blocks && cache.n_free() > 0) {
    const auto entry = take<Entry>(rest);
    const bool has_parent = entry.parent != PrefixIndex::Known::kNoParent;
    if ((has_parent && entry.parent >= list.size()) ||
        !known.insert({entry.parent, entry.tokens}).second) {
      give_back();
      return damaged(path, "is damaged: its tree is none");
    }
    list.push_back({entry.parent, entry.tokens, cache.acquire()});
    backend.write_block(list.back().block,
                        {reinterpret_cast<const uint8_t*>(rest.data()), block_bytes});
    rest.remove_prefix(block_bytes);
  }
  index.restore(list);
  return static_cast<uint32_t>(list.size());
}

}  // namespace tristill::engine
