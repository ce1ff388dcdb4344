#include "server/models/model_files.h"

#include <algorithm>

#include "base/atomic_file.h"
#include "base/log.h"
#include "base/name.h"

namespace tristill::models {
namespace {

namespace fs = std::filesystem;

Result<void> check_name(const std::string& name) {
  if (is_name(name)) return {};
  return Error{ErrorCode::invalid_argument,
               "\"" + name + "\" is no model's name; accepted are " + std::string(kAcceptedNames),
               "name"};
}

void log_not_served(const fs::path& path, const Error& error) {
  log_warn("model not served", {{"path", path.string()}, {"reason", error.message}});
}

}  // namespace

ModelFiles::ModelFiles(Registry& registry, fs::path folder, std::vector<std::string> named)
    : registry_(registry), folder_(std::move(folder)), named_(std::move(named)) {}

Result<void> ModelFiles::load_all() {
  const std::vector<fs::path> named = named_paths();
  for (const auto& [name, path] : wanted()) {
    if (std::ranges::find(named, path) != named.end()) continue;
    if (auto done = serve_under_stem(path); !done) log_not_served(path, done.error());
  }
  for (const fs::path& path : named) {
    if (auto done = serve_under_stem(path); !done) {
      return Error{done.error().code, path.string() + ": " + done.error().message,
                   done.error().param};
    }
  }
  return {};
}

Result<void> ModelFiles::serve_under_stem(const fs::path& path) {
  const std::string name = path.stem().string();
  if (is_name(name)) return registry_.publish(name, path);
  return Error{ErrorCode::invalid_argument,
               "the file's stem is the model's name; accepted are " + std::string(kAcceptedNames),
               "model"};
}

std::vector<fs::path> ModelFiles::named_paths() const {
  const std::lock_guard lock(mutex_);
  std::vector<fs::path> paths;
  for (const std::string& file : named_) paths.push_back(fs::absolute(file));
  return paths;
}

// What should be served, by name: of one stem the named file.
std::map<std::string, fs::path> ModelFiles::wanted() const {
  std::map<std::string, fs::path> files;
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(folder_, none)) {
    const fs::path& path = entry.path();
    if (path.extension() == ".gguf") files[path.stem().string()] = path;
  }
  for (const fs::path& path : named_paths()) files[path.stem().string()] = path;
  return files;
}

ModelFiles::Changes ModelFiles::rescan(std::vector<std::string> named) {
  std::map<fs::path, FileStamp> removed;
  {
    const std::lock_guard lock(mutex_);
    named_ = std::move(named);
    std::erase_if(removed_, [](const auto& one) { return stamp_of(one.first) != one.second; });
    removed = removed_;
  }
  Changes changes;
  const auto settle = [&](const std::string& name, const fs::path& path, const Result<void>& done) {
    if (!done) log_not_served(path, done.error());
    (done ? changes.served : changes.failed).push_back(name);
  };
  const auto files = wanted();
  for (const auto& served : registry_.list()) {
    const auto stamp = stamp_of(served->path);
    const bool is_wanted =
        std::ranges::any_of(files, [&](const auto& file) { return file.second == served->path; });
    if (!stamp || !is_wanted) {
      if (registry_.remove(served->name)) changes.removed.push_back(served->name);
    } else if (served->stamp != *stamp) {
      settle(served->name, served->path, registry_.publish(served->name, served->path));
    }
  }
  for (const auto& [name, path] : files) {
    const auto served = registry_.exact(name);
    const bool is_served = served != nullptr && served->path == path;
    if (!is_served && !removed.contains(path)) settle(name, path, serve_under_stem(path));
  }
  return changes;
}

Result<fs::path> ModelFiles::allowed(const std::string& path) const {
  {
    const std::lock_guard lock(mutex_);
    if (std::ranges::find(named_, path) != named_.end()) return fs::absolute(path);
  }
  const fs::path file(path);
  if (is_name(path) && file.extension() == ".gguf") return folder_ / file;
  return Error{ErrorCode::invalid_argument,
               "path is \"" + path +
                   "\"; accepted are the name of a .gguf file in the folder models of the daemon's "
                   "data, and the files that were named with --model",
               "path"};
}

Result<std::string> ModelFiles::add(const std::optional<std::string>& name,
                                    const std::string& path) {
  const auto file = allowed(path);
  if (!file) return file.error();
  const std::string wanted_name = name.value_or(file->stem().string());
  if (auto valid = check_name(wanted_name); !valid) return valid.error();
  if (!fs::is_regular_file(*file)) {
    return Error{ErrorCode::not_found, "there is no model file " + path, "path"};
  }
  if (auto done = registry_.try_publish(wanted_name, *file); !done) {
    return Error{done.error().code, path + ": " + done.error().message,
                 done.error().param.empty() ? "path" : done.error().param};
  }
  const std::lock_guard lock(mutex_);
  removed_.erase(*file);
  return wanted_name;
}

Result<void> ModelFiles::remove(const std::string& name, bool delete_file) {
  const auto served = registry_.exact(name);
  if (served && delete_file && served->path.parent_path() != folder_) {
    return Error{ErrorCode::invalid_argument,
                 "the file of " + name +
                     " was named with --model; only files in the folder models "
                     "of the daemon's data are deleted",
                 "delete_file"};
  }
  if (auto done = registry_.remove(name); !done) return done;
  if (served == nullptr) return {};  // it came and went between the two looks
  if (!delete_file) {
    const std::lock_guard lock(mutex_);
    removed_[served->path] = served->stamp;
    return {};
  }
  std::error_code failed;
  fs::remove(served->path, failed);
  if (failed) {
    return Error{ErrorCode::unavailable,
                 "cannot delete " + served->path.filename().string() + ": " + failed.message(),
                 "delete_file"};
  }
  return sync_folder(folder_);
}

}  // namespace tristill::models
