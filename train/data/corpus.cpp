#include "train/data/corpus.h"

#include <algorithm>
#include <filesystem>
#include <unordered_set>

#include "base/atomic_file.h"
#include "base/sha256.h"
#include "base/utf8.h"

namespace tristill::train {
namespace {

namespace fs = std::filesystem;

bool has_extension(const fs::path& path, const std::vector<std::string>& extensions) {
  return std::find(extensions.begin(), extensions.end(), path.extension().string()) !=
         extensions.end();
}

bool is_passed_over(const fs::path& folder) {
  const auto name = folder.filename().string();
  return name == "__pycache__" || name == ".git" || name == "node_modules";
}

// Relative paths of the wanted files, sorted.
std::vector<std::string> list_files(const fs::path& root,
                                    const std::vector<std::string>& extensions) {
  std::vector<std::string> paths;
  auto it = fs::recursive_directory_iterator(root, fs::directory_options::skip_permission_denied);
  for (; it != fs::recursive_directory_iterator(); ++it) {
    if (it->is_directory() && is_passed_over(it->path())) it.disable_recursion_pending();
    if (it->is_symlink() || !it->is_regular_file() || !has_extension(it->path(), extensions))
      continue;
    paths.push_back(fs::relative(it->path(), root).generic_string());
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

}  // namespace

bool is_held_out(const std::string& path, double share) {
  const auto digest = sha256(path);
  uint64_t first = 0;
  for (int i = 0; i < 8; ++i) first = first << 8 | digest[static_cast<size_t>(i)];
  return static_cast<double>(first) * 0x1p-64 < share;
}

Result<Corpus> read_corpus(const job::ResolvedCorpus& corpus, double held_out) {
  const fs::path root(corpus.path);
  if (!fs::is_directory(root)) {
    return Error{ErrorCode::not_found,
                 "corpus " + corpus.source.name + ": no directory " + corpus.path, "data.corpora"};
  }
  Corpus out;
  std::unordered_set<std::string> seen;
  std::string manifest;
  for (const std::string& path : list_files(root, corpus.source.extensions)) {
    auto text = read_file(root / path, kMaxSourceFile);
    if (!text && text.error().code == ErrorCode::resource_exhausted) {
      ++out.summary.skipped_size;
      continue;
    }
    if (!text) return text.error();
    if (text->empty() || !utf8_is_valid(*text) || text->find('\0') != std::string::npos) {
      ++out.summary.skipped_not_text;
      continue;
    }
    std::string digest = to_hex(sha256(*text));
    if (!seen.insert(digest).second) {
      ++out.summary.skipped_duplicate;
      continue;
    }
    manifest += digest + "  " + path + "\n";
    Document document{path, std::move(*text), is_held_out(path, held_out)};
    ++(document.held_out ? out.summary.held_out_files : out.summary.files);
    (document.held_out ? out.summary.held_out_bytes : out.summary.bytes) += document.text.size();
    out.documents.push_back(std::move(document));
  }
  if (out.summary.files == 0) {
    return Error{
        ErrorCode::invalid_argument,
        "corpus " + corpus.source.name + " holds no usable file with the wanted extensions",
        "data.corpora"};
  }
  out.summary.manifest_sha256 = to_hex(sha256(manifest));
  return out;
}

}  // namespace tristill::train
