// ModelFiles: the files that the daemon may serve, those of DATA/models and those that --model
// names, and how requests and reloads bring them into the registry. Nothing else on the machine can
// be served by a request. Any thread.
//
// After a restart what is served follows from the files alone: all of the folder, then the named
// ones, each under its stem. So a model that was removed without its file comes back then, and one
// that was added under another name has its stem's.
#pragma once

#include <filesystem>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "server/models/registry.h"

namespace tristill::models {

class ModelFiles {
 public:
  // folder: DATA/models. named: as --model gave them.
  ModelFiles(Registry& registry, std::filesystem::path folder, std::vector<std::string> named);

  // Serves all of them. One of the folder that is damaged is left out, with a warning: it must not
  // keep the others from being served. Errors: the first of a named one, with its path.
  Result<void> load_all();

  struct Changes {
    std::vector<std::string> served, removed, failed;  // names of models
  };
  // Brings what is served to what the files are now: new and changed files are loaded, models whose
  // file is gone are removed. What cannot be loaded is logged and stays as it was; what a request
  // removed stays removed until its file changes.
  Changes rescan(std::vector<std::string> named);

  // POST /models: serves the file, in place of the model of that name if there is one; the name is
  // the file's stem unless another is given. path: the name of a file in the folder, or one of the
  // named ones as it was given. Returns the name. Errors: invalid_argument (path, name), not_found,
  // conflict, and those of publish.
  Result<std::string> add(const std::optional<std::string>& name, const std::string& path);

  // DELETE /models/{name}: as Registry::remove; with delete_file its file goes too, which must be
  // one of the folder (else invalid_argument, and nothing is done).
  Result<void> remove(const std::string& name, bool delete_file);

 private:
  Result<void> serve_under_stem(const std::filesystem::path& path);
  std::vector<std::filesystem::path> named_paths() const;
  std::map<std::string, std::filesystem::path> wanted() const;
  Result<std::filesystem::path> allowed(const std::string& path) const;

  Registry& registry_;
  const std::filesystem::path folder_;
  mutable std::mutex mutex_;  // guards both
  std::vector<std::string> named_;
  std::map<std::filesystem::path, FileStamp> removed_;  // by requests
};

}  // namespace tristill::models
