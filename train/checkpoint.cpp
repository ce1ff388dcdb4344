#include "train/checkpoint.h"

#include <torch/serialize/archive.h>

#include <algorithm>
#include <string_view>
#include <vector>

#include "base/atomic_file.h"
#include "base/file_digest.h"
#include "base/mapped_file.h"
#include "base/sha256.h"
#include "train/job/checkpoint_folders.h"

namespace tristill::train {
namespace {

namespace fs = std::filesystem;
constexpr std::string_view kStateFile = "state.pt";
constexpr std::string_view kDigestFile = "state.sha256";
constexpr const char* kUnfinished = "tmp-";  // before the name of a folder that is being written
constexpr const char* kDamaged = "damaged-";  // before the name of one that cannot be read

std::string folder_name(int64_t step) {
  std::string digits = std::to_string(step);
  return std::string(digits.size() < 8 ? 8 - digits.size() : 0, '0') + digits;
}

// Writes the tensors as one file and returns its SHA-256 in hex. The bytes go to the disk as they
// are made: a state is as large as memory allows.
Result<std::string> write_state(const fs::path& path, const Checkpoint& checkpoint) {
  auto file = AtomicFile::create(path);
  if (!file) return file.error();
  torch::serialize::OutputArchive archive;
  for (const auto& [name, tensor] : checkpoint.tensors) archive.write(name, tensor, true);
  Sha256 digest;
  Result<void> written;
  archive.save_to([&](const void* data, size_t size) {
    const std::string_view bytes(static_cast<const char*>(data), size);
    digest.update(bytes);
    if (written) written = file->append(bytes);
    return size;  // also where the disk is full: the archive cannot be left half-way
  });
  if (written) written = file->commit();
  if (!written) return written.error();
  return to_hex(digest.finish());
}

// Errors: corrupt for one that is not whole; unavailable for one that cannot be read now.
Result<Checkpoint> load(const fs::path& path) {
  const auto wanted = read_file(path / kDigestFile);
  const auto found = digest_of_file(path / kStateFile);
  if (!wanted && wanted.error().code != ErrorCode::not_found) return wanted.error();
  if (!found && found.error().code != ErrorCode::not_found) return found.error();
  if (!wanted || !found || to_hex(found->digest) != *wanted) {
    return Error{ErrorCode::corrupt, path.string() + " is damaged", "checkpoint"};
  }
  const auto file = MappedFile::open(path / kStateFile);
  if (!file) return file.error();
  torch::serialize::InputArchive archive;
  archive.load_from(reinterpret_cast<const char*>(file->bytes().data()), file->bytes().size());
  Checkpoint checkpoint;
  checkpoint.step = job::step_of(path);
  for (const std::string& name : archive.keys()) archive.read(name, checkpoint.tensors[name], true);
  return checkpoint;
}

bool was_healthy(const fs::path& path) {
  const auto text = read_file(path / job::kHealthFileName);
  if (!text) return false;
  const auto healthy = job::read_healthy(*text);
  return healthy && *healthy;
}

void prune(const fs::path& folder, const Keeping& keeping) {
  const auto all = job::list_checkpoints(folder);
  const auto healthy = std::find_if(all.begin(), all.end(), was_healthy);
  const auto is_kept = [&](const fs::path& path) {
    return (healthy != all.end() && path == *healthy) ||
           (keeping.every > 0 && job::step_of(path) % keeping.every == 0);
  };
  std::error_code ignored;
  for (size_t i = keeping.newest; i < all.size(); ++i) {
    if (!is_kept(all[i])) fs::remove_all(all[i], ignored);
  }
}

void remove_named(const fs::path& folder, const char* prefix) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    if (entry.path().filename().string().starts_with(prefix)) {
      fs::remove_all(entry.path(), ignored);
    }
  }
}

// There is a checkpoint of that step at every instant, the older or the newer one.
Result<void> put_in_place(const fs::path& made, const fs::path& target) {
  std::error_code failed;
  if (!fs::exists(target, failed)) return rename_durably(made, target);
  if (auto swapped = swap_durably(made, target); swapped) return swapped;
  // A file system that cannot swap: for an instant there is neither.
  fs::remove_all(target, failed);
  return rename_durably(made, target);
}

}  // namespace

Result<void> save_checkpoint(const fs::path& folder, const Checkpoint& checkpoint,
                             const Keeping& keeping) {
  const fs::path target = folder / folder_name(checkpoint.step);
  const fs::path temporary = folder / (kUnfinished + folder_name(checkpoint.step));
  remove_named(folder, kUnfinished);  // of a process that was ended while it wrote
  std::error_code failed;
  fs::create_directories(temporary, failed);
  if (failed) {
    return Error{ErrorCode::resource_exhausted,
                 "cannot create " + temporary.string() + ": " + failed.message(), "checkpoint"};
  }
  const auto digest = write_state(temporary / kStateFile, checkpoint);
  Result<void> done;
  if (!digest) done = digest.error();
  if (done) done = write_file_atomically(temporary / kDigestFile, *digest);
  if (done) {
    done = write_file_atomically(temporary / job::kHealthFileName,
                                 format_health_file(checkpoint.health));
  }
  if (done) done = put_in_place(temporary, target);
  fs::remove_all(temporary, failed);  // what could not be put there, or what was there
  if (!done) return done;
  prune(folder, keeping);
  return {};
}

Result<Checkpoint> load_newest_checkpoint(const fs::path& folder, std::string& skipped) {
  for (const fs::path& path : job::list_checkpoints(folder)) {
    auto checkpoint = load(path);
    if (checkpoint || checkpoint.error().code != ErrorCode::corrupt) return checkpoint;
    skipped += (skipped.empty() ? "" : ", ") + path.filename().string();
  }
  if (skipped.empty()) {
    return Error{ErrorCode::not_found, folder.string() + " holds no checkpoint", "checkpoint"};
  }
  return Error{ErrorCode::corrupt,
               "no checkpoint in " + folder.string() + " is whole (damaged: " + skipped +
                   "); put one back from a copy, or create the job again",
               "checkpoint"};
}

void set_aside_newer(const fs::path& folder, int64_t step) {
  std::vector<fs::path> newer = job::list_checkpoints(folder);
  std::erase_if(newer, [&](const fs::path& path) { return job::step_of(path) <= step; });
  if (newer.empty()) return;
  remove_named(folder, kDamaged);
  std::error_code ignored;
  for (const fs::path& path : newer) {
    fs::rename(path, folder / (kDamaged + path.filename().string()), ignored);
  }
}

std::optional<int64_t> roll_back(const fs::path& folder) {
  const auto all = job::list_checkpoints(folder);
  for (size_t i = 0; i < all.size(); ++i) {
    if (!was_healthy(all[i])) continue;
    const auto checkpoint = load(all[i]);
    if (!checkpoint) continue;
    // The newest first: cut off at any instant, what is left is a state on the way back.
    std::error_code ignored;
    for (size_t j = 0; j < i; ++j) fs::remove_all(all[j], ignored);
    return checkpoint->step;
  }
  return std::nullopt;
}

}  // namespace tristill::train
