// Registry: the models that are served, by name. A model that is replaced lives on until its last
// request has ended. Any thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "model/engine/engine.h"

namespace tristill::models {

struct ServedModel {
  std::string name;
  std::filesystem::path path;
  int64_t created = 0;  // Unix seconds of the file
  engine::EngineOptions options;
  std::shared_ptr<const Model> model;
  size_t longest_token = 0;  // bytes: a longer text than context times this cannot fit
  std::unique_ptr<engine::Engine> engine;
};

class Registry {
 public:
  // All models compute on one team: that of options, or one of options.n_threads made here.
  explicit Registry(engine::EngineOptions options, PackingOptions packing = {});

  // Loads the model that guesses for those published from now on. Errors: as publish.
  Result<void> load_draft_model(const std::filesystem::path& path);

  // Loads the file and serves it under name from now on, in place of one of that name.
  // Errors: those of load_model; what was served before is still served then.
  Result<void> publish(const std::string& name, const std::filesystem::path& path);

  // The model called name; the only one when just one is served, whatever the name.
  // Errors: not_found, param "model", naming those there are.
  Result<std::shared_ptr<ServedModel>> find(const std::string& name) const;
  // Exactly the one called name.
  std::shared_ptr<ServedModel> exact(const std::string& name) const;
  std::vector<std::shared_ptr<ServedModel>> list() const;

  // New requests are refused, running ones go on.
  void drain();
  bool idle() const;
  // Running requests are to answer with what they have.
  void cut() { is_cut_ = true; }
  bool is_cut() const { return is_cut_; }

 private:
  engine::EngineOptions options_;
  PackingOptions packing_;
  std::atomic<bool> is_cut_{false};
  mutable std::mutex mutex_;  // guards models_
  std::map<std::string, std::shared_ptr<ServedModel>> models_;
};

}  // namespace tristill::models
