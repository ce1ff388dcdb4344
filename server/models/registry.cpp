#include "server/models/registry.h"

#include <sys/stat.h>

#include <algorithm>
#include <new>
#include <stdexcept>

#include "base/log.h"

namespace tristill::models {
namespace {

size_t longest_token(const Tokenizer& tokenizer) {
  size_t longest = 1;
  for (size_t id = 0; id < tokenizer.vocab_size(); ++id) {
    longest = std::max(longest, tokenizer.bytes_of(static_cast<TokenId>(id)).size());
  }
  return longest;
}

// A draft model must cut text as the model does. It does not guess for itself.
bool may_draft(const Model* draft, const Model& model) {
  if (draft == nullptr || draft->fingerprint == model.fingerprint) return false;
  const bool same = draft->config.vocab_size == model.config.vocab_size &&
                    draft->tokenizer->fingerprint() == model.tokenizer->fingerprint();
  if (!same) {
    log_warn("the draft model does not guess for this model: it has another tokenizer",
             {{"model", model.name}, {"draft_model", draft->name}});
  }
  return same;
}

// Errors: resource_exhausted without the memory, unavailable when the device refuses the model.
Result<void> start_engine(ServedModel& served) {
  try {
    served.engine = std::make_unique<engine::Engine>(served.model, served.options);
  } catch (const std::bad_alloc&) {
    return Error{ErrorCode::resource_exhausted,
                 "no memory for the model " + served.name +
                     " and its cache; lower max_context, max_sequences or kv_cache_tokens",
                 "kv_cache_tokens"};
  } catch (const std::runtime_error& failure) {
    return Error{ErrorCode::unavailable, failure.what(), "device"};
  }
  return {};
}

}  // namespace

Registry::Registry(engine::EngineOptions options, PackingOptions packing)
    : options_(std::move(options)), packing_(packing) {
  if (options_.team != nullptr) return;
  const uint32_t n = options_.n_threads == 0 ? usable_cores() : options_.n_threads;
  options_.team = std::make_shared<ThreadTeam>(n, options_.placement);
}

Result<void> Registry::load_draft_model(const std::filesystem::path& path) {
  auto model = load_model(path, packing_);
  if (!model) return model.error();
  options_.draft_model = std::move(*model);
  return {};
}

Result<void> Registry::publish(const std::string& name, const std::filesystem::path& path) {
  auto model = load_model(path, packing_);
  if (!model) return model.error();
  auto served = std::make_shared<ServedModel>();
  served->name = name;
  served->path = path;
  served->options = options_;
  if (!may_draft(options_.draft_model.get(), **model)) served->options.draft_model = nullptr;
  struct stat info{};
  if (::stat(path.c_str(), &info) == 0) served->created = info.st_mtime;
  served->model = std::move(*model);
  served->longest_token = longest_token(*served->model->tokenizer);
  if (auto made = start_engine(*served); !made) return made.error();
  log_info("model served", {{"name", name},
                            {"path", path.string()},
                            {"weight_bytes", std::to_string(served->model->weight_bytes)}});
  std::shared_ptr<ServedModel> replaced;  // destroyed after the lock is gone
  const std::lock_guard lock(mutex_);
  replaced = std::exchange(models_[name], std::move(served));
  return {};
}

std::shared_ptr<ServedModel> Registry::exact(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  const auto found = models_.find(name);
  return found == models_.end() ? nullptr : found->second;
}

Result<std::shared_ptr<ServedModel>> Registry::find(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  const auto found = models_.find(name);
  if (found != models_.end()) return found->second;
  if (models_.size() == 1) return models_.begin()->second;
  std::string names;
  for (const auto& [served, model] : models_) names += (names.empty() ? "" : ", ") + served;
  return Error{
      ErrorCode::not_found,
      "no model is called \"" + name + "\"; served are: " + (names.empty() ? "none" : names),
      "model"};
}

std::vector<std::shared_ptr<ServedModel>> Registry::list() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<ServedModel>> all;
  for (const auto& [name, model] : models_) all.push_back(model);
  return all;
}

void Registry::drain() {
  for (const auto& served : list()) served->engine->drain();
}

bool Registry::idle() const {
  for (const auto& served : list()) {
    if (!served->engine->idle()) return false;
  }
  return true;
}

}  // namespace tristill::models
