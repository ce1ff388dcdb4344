#include "base/file_digest.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>

namespace tristill {
namespace {

constexpr size_t kPieceBytes = size_t{1} << 20;

struct Close {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

}  // namespace

Result<FileDigest> digest_of_file(const std::filesystem::path& path, uint64_t most) {
  const std::unique_ptr<std::FILE, Close> file(std::fopen(path.c_str(), "rbe"));
  if (!file) {
    return Error{errno == ENOENT ? ErrorCode::not_found : ErrorCode::unavailable,
                 "cannot open " + path.string() + ": " + std::strerror(errno), "path"};
  }
  FileDigest found;
  Sha256 digest;
  std::string piece(kPieceBytes, '\0');
  while (found.bytes < most) {
    const size_t wanted = std::min<uint64_t>(piece.size(), most - found.bytes);
    const size_t n = std::fread(piece.data(), 1, wanted, file.get());
    digest.update(std::string_view(piece).substr(0, n));
    found.bytes += n;
    if (n < wanted) break;
  }
  if (std::ferror(file.get()) != 0) {
    return Error{ErrorCode::unavailable,
                 "cannot read " + path.string() + ": " + std::strerror(errno), "path"};
  }
  found.digest = digest.finish();
  return found;
}

}  // namespace tristill
