#include "train/data/corpus.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <optional>
#include <unordered_set>
#include <utility>

#include "base/atomic_file.h"
#include "base/sha256.h"
#include "base/utf8.h"
#include "train/data/license.h"
#include "train/trace/sample.h"

namespace tristill::train {
namespace {

namespace fs = std::filesystem;
using Split = job::ManifestLine::Split;

bool has_extension(const fs::path& path, const std::vector<std::string>& extensions) {
  return std::find(extensions.begin(), extensions.end(), path.extension().string()) !=
         extensions.end();
}

bool is_passed_over(const fs::path& folder) {
  const auto name = folder.filename().string();
  return name == "__pycache__" || name == ".git" || name == "node_modules";
}

Error bad_corpus(const job::ResolvedCorpus& corpus, const std::string& what) {
  return {ErrorCode::invalid_argument, "corpus " + corpus.source.name + ": " + what,
          "data.corpora"};
}

std::string listed(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : ", ") + word;
  return out;
}

Document to_document(const trace::Sample& sample, std::string path) {
  Document document;
  document.path = std::move(path);
  for (const trace::SamplePart& part : sample.parts) {
    document.text += part.text;
    document.parts.push_back({part.text.size(), part.learned});
  }
  if (document.parts.size() == 1) document.parts.clear();
  return document;
}

// Reads one corpus, file by file.
class CorpusReader {
 public:
  CorpusReader(const job::ResolvedCorpus& corpus, const CorpusOptions& options)
      : corpus_(corpus), options_(options), root_(corpus.path), licenses_(corpus.path) {}

  Result<void> read(const SourceFile& file) {
    job::ManifestLine& line = begin(file);
    if (corpus_.source.format == job::CorpusFormat::jsonl) return read_lines(line);
    return read_source(line);
  }
  Result<Corpus> finish() &&;

 private:
  job::ManifestLine& begin(const SourceFile& file) {
    out_.files.push_back({.corpus = corpus_.source.name,
                          .path = file.path,
                          .bytes = file.bytes,
                          .license = licenses_.of(file.path)});
    return out_.files.back();
  }
  bool is_accepted(job::ManifestLine& line) {
    if (options_.licenses.empty() || is_license_accepted(line.license, options_.licenses)) {
      return true;
    }
    leave_out(line, "license");
    return false;
  }
  static void leave_out(job::ManifestLine& line, const char* reason) {
    line.split = Split::skipped;
    line.reason = reason;
  }
  bool is_new(std::string_view text) { return seen_.insert(to_hex(sha256(text))).second; }

  Result<void> read_source(job::ManifestLine& line);
  Result<void> read_lines(job::ManifestLine& line);
  Result<void> add_samples(job::ManifestLine& line, std::string_view text, size_t number);

  const job::ResolvedCorpus& corpus_;
  const CorpusOptions& options_;
  fs::path root_;
  FolderLicenses licenses_;
  std::unordered_set<std::string> seen_;  // digests of normalised texts
  Corpus out_;
};

Result<void> CorpusReader::read_source(job::ManifestLine& line) {
  auto text = read_file(root_ / line.path, kMaxSourceFile);
  if (!text && text.error().code == ErrorCode::resource_exhausted) {
    leave_out(line, "size");
    return {};
  }
  if (!text) return text.error();
  line.bytes = text->size();
  line.sha256 = to_hex(sha256(*text));
  if (text->empty() || !utf8_is_valid(*text) || text->find('\0') != std::string::npos) {
    leave_out(line, "not_text");
    return {};
  }
  if (auto own = spdx_expression(*text)) line.license = std::move(*own);
  if (!is_accepted(line)) return {};
  if (!is_new(normalised_text(*text))) {
    leave_out(line, "duplicate");
    return {};
  }
  Document document{.path = line.path, .text = std::move(*text), .file = out_.files.size() - 1};
  document.held_out = is_held_out(document.path, options_.held_out);
  if (document.held_out) line.split = Split::held_out;
  out_.documents.push_back(std::move(document));
  return {};
}

Result<void> CorpusReader::add_samples(job::ManifestLine& line, std::string_view text,
                                       size_t number) {
  const auto samples = trace::parse_samples(text);
  if (!samples) {
    return bad_corpus(
        corpus_, line.path + " line " + std::to_string(number) + ": " + samples.error().message);
  }
  for (const trace::Sample& sample : *samples) {
    Document document = to_document(sample, line.path + ":" + std::to_string(number));
    if (!is_new(normalised_text(document.text))) {
      ++line.duplicates;
      continue;
    }
    document.file = out_.files.size() - 1;
    const std::string first = normalised_text(sample.parts.front().text);
    document.held_out = is_held_out(first, options_.held_out);
    ++(document.held_out ? line.held_out_samples : line.train_samples);
    out_.documents.push_back(std::move(document));
  }
  return {};
}

Result<void> CorpusReader::read_lines(job::ManifestLine& line) {
  if (!is_accepted(line)) return {};
  const auto file = read_file(root_ / line.path, kMaxLinesFile);
  if (!file && file.error().code == ErrorCode::resource_exhausted) {
    return bad_corpus(corpus_, line.path + " is larger than 1 GiB; split it");
  }
  if (!file) return file.error();
  std::string_view rest = *file;
  line.bytes = rest.size();
  line.sha256 = to_hex(sha256(rest));
  for (size_t number = 1; !rest.empty(); ++number) {
    const std::string_view text = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(text.size() + 1, rest.size()));
    if (text.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    if (auto added = add_samples(line, text, number); !added) return added;
  }
  if (line.held_out_samples > 0)
    line.split = line.train_samples > 0 ? Split::mixed : Split::held_out;
  else if (line.train_samples == 0) leave_out(line, line.duplicates > 0 ? "duplicate" : "not_text");
  return {};
}

Result<Corpus> CorpusReader::finish() && {
  const bool trains =
      std::ranges::any_of(out_.documents, [](const auto& d) { return !d.held_out; });
  if (trains) return std::move(out_);
  std::map<std::string, size_t> reasons, others;
  for (const job::ManifestLine& line : out_.files) {
    ++reasons[line.reason.empty() ? "held_out" : line.reason];
    if (line.reason == "license") ++others[line.license];
  }
  std::string why;
  for (const auto& [reason, count] : reasons) {
    why += (why.empty() ? "" : ", ") + reason + " " + std::to_string(count);
  }
  if (!others.empty()) {
    std::vector<std::string> counts;
    for (const auto& [license, n] : others) counts.push_back(license + " " + std::to_string(n));
    why += "; data.licenses accepts " + listed(options_.licenses) + ", the files are under " +
           listed(counts);
  }
  return bad_corpus(corpus_, "of " + std::to_string(out_.files.size()) +
                                 " files none is left to train on (" + why + ")");
}

}  // namespace

bool is_held_out(std::string_view name, double share) {
  const auto digest = sha256(name);
  uint64_t first = 0;
  for (int i = 0; i < 8; ++i) first = first << 8 | digest[static_cast<size_t>(i)];
  return static_cast<double>(first) * 0x1p-64 < share;
}

std::string normalised_text(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  size_t blank_lines = 0;
  while (!text.empty()) {
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    const size_t last = line.find_last_not_of(" \t\v\f\r");
    if (last == std::string_view::npos) {
      ++blank_lines;
      continue;
    }
    if (!out.empty()) out.append(blank_lines + 1, '\n');
    blank_lines = 0;
    out += line.substr(0, last + 1);
  }
  return out;
}

Result<std::vector<SourceFile>> list_files(const job::ResolvedCorpus& corpus) {
  const fs::path root(corpus.path);
  if (!fs::is_directory(root)) {
    return Error{ErrorCode::not_found,
                 "corpus " + corpus.source.name + ": no directory " + corpus.path, "data.corpora"};
  }
  std::vector<SourceFile> files;
  auto it = fs::recursive_directory_iterator(root, fs::directory_options::skip_permission_denied);
  for (; it != fs::recursive_directory_iterator(); ++it) {
    std::error_code failed;
    // Links first: one that leads nowhere, or in a circle, has no other answer.
    if (it->is_symlink(failed)) continue;
    if (it->is_directory(failed) && is_passed_over(it->path())) it.disable_recursion_pending();
    if (!it->is_regular_file(failed) || !has_extension(it->path(), corpus.source.extensions)) {
      continue;
    }
    const uint64_t bytes = it->file_size(failed);
    if (failed) continue;  // it went meanwhile
    files.push_back({it->path().lexically_relative(root).generic_string(), bytes});
  }
  if (files.empty()) {
    return bad_corpus(corpus, "no file ends in " + listed(corpus.source.extensions) +
                                  "; name the endings of its files in extensions, and format "
                                  "jsonl for JSON Lines");
  }
  std::ranges::sort(files, {}, &SourceFile::path);
  return files;
}

Result<Corpus> read_corpus(const job::ResolvedCorpus& corpus, const std::vector<SourceFile>& files,
                           const CorpusOptions& options) {
  CorpusReader reader(corpus, options);
  for (const SourceFile& file : files) {
    if (auto read = reader.read(file); !read) return read.error();
    if (options.on_read) options.on_read(file.bytes);
  }
  return std::move(reader).finish();
}

}  // namespace tristill::train
