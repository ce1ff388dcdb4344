// Registry: the models that are served, by name, and what other names stand for. A model that is
// replaced or removed lives on until its last request has ended. Any thread.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/result.h"
#include "model/engine/engine.h"
#include "server/chat/chat_template.h"
#include "server/models/file_stamp.h"
#include "server/models/lineage.h"

namespace tristill::models {

struct ServedModel {
  ServedModel() = default;
  ~ServedModel();
  ServedModel(const ServedModel&) = delete;
  ServedModel& operator=(const ServedModel&) = delete;

  std::string name;
  std::filesystem::path path;
  FileStamp stamp;  // of the file when it was loaded
  int64_t created = 0;  // Unix seconds of the file
  engine::EngineOptions options;
  std::shared_ptr<const Model> model;
  size_t longest_token = 0;  // bytes: a longer text than context times this cannot fit
  std::shared_ptr<Lineage> lineage;
  std::unique_ptr<engine::Engine> engine;
  // How conversations become prompts; an error: why they cannot. plain where the file has none.
  Result<std::shared_ptr<const chat::ChatTemplate>> chat_template = Error{};
  std::vector<TokenId> turn_ends;  // control tokens that end an assistant's turn
};

// What names that no model has stand for.
struct NamePolicy {
  std::map<std::string, std::string> aliases;  // a client's name -> a model's
  enum class Unknown {
    automatic,  // the only model when one is served, else not_found
    serve,      // the first model by name
    refuse      // not_found
  } unknown = Unknown::automatic;
};

// The totals of a model's name; of one that is served no more too.
struct ModelTotals {
  std::string name;
  engine::EngineStats stats;
};

class Registry {
 public:
  // All models compute on one team: that of options, or one of options.n_threads made here.
  explicit Registry(engine::EngineOptions options, PackingOptions packing = {});

  // Loads the model that guesses for those published from now on. Errors: as publish.
  Result<void> load_draft_model(const std::filesystem::path& path);

  // In place of the models' own chat templates, for those published from now on.
  void use_chat_template(chat::TemplateChoice choice) { chat_template_ = std::move(choice); }

  // Loads the file and serves it under name from now on, in place of one of that name. One model is
  // loaded at a time: others wait their turn. Errors: those of load_model, and unavailable once the
  // registry drains; what was served before is still served then.
  Result<void> publish(const std::string& name, const std::filesystem::path& path);
  // As publish; conflict when one of that name is being loaded already.
  Result<void> try_publish(const std::string& name, const std::filesystem::path& path);
  // No new requests reach it; those that run end, then its memory is free. Errors: not_found,
  // conflict while one of that name is being loaded.
  Result<void> remove(const std::string& name);

  void set_names(NamePolicy names);
  // The model that a request asks for: the one of that name, else the one that the name policy
  // says. An empty name is the only model, where just one is served, and else an unknown one.
  // Errors: not_found, param "model", naming those there are.
  Result<std::shared_ptr<ServedModel>> find(const std::string& name) const;
  // The one called name, or that the alias stands for; null when there is none.
  std::shared_ptr<ServedModel> named(const std::string& name) const;
  // Exactly the one called name.
  std::shared_ptr<ServedModel> exact(const std::string& name) const;
  std::vector<std::shared_ptr<ServedModel>> list() const;  // by name
  std::vector<std::string> aliases_of(const std::string& name) const;
  std::vector<ModelTotals> totals() const;  // of every name since the start

  // New requests and models are refused, running requests go on.
  void drain();
  bool idle() const;  // nothing runs or waits, also of models that were replaced or removed
  // Running requests are to answer with what they have.
  void cut() { is_cut_ = true; }
  bool is_cut() const { return is_cut_; }

 private:
  // A name that is being loaded, as long as this lives.
  class Loading;

  Result<void> load(const std::string& name, const std::filesystem::path& path);
  Result<void> swap_in(std::shared_ptr<ServedModel> served);
  std::shared_ptr<ServedModel> resolve(const std::string& name) const;

  engine::EngineOptions options_;
  PackingOptions packing_;
  chat::TemplateChoice chat_template_;
  std::atomic<bool> is_cut_{false};
  std::mutex one_load_;  // held while a model is loaded: memory and cores are for one
  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable loaded_;
  std::map<std::string, std::shared_ptr<ServedModel>> models_;
  std::map<std::string, std::shared_ptr<Lineage>> lineages_;
  std::set<std::string> loading_;
  NamePolicy names_;
  bool draining_ = false;
};

}  // namespace tristill::models
