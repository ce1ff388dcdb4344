#include "server/models/registry.h"

#include <algorithm>
#include <new>
#include <stdexcept>

#include "base/log.h"
#include "server/chat/encode.h"

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

// A model whose chat template is broken is served all the same; chats are then told why not.
void take_chat_template(ServedModel& served, const chat::TemplateChoice& choice) {
  const Tokenizer& tokenizer = *served.model->tokenizer;
  served.chat_template = chat::template_for(served.model->chat_template, tokenizer, choice);
  if (served.chat_template) {
    served.turn_ends = chat::turn_ends(**served.chat_template, tokenizer);
    return;
  }
  const std::string reason = served.chat_template.error().message;
  log_warn("chat template not used", {{"model", served.name}, {"reason", reason}});
  served.chat_template = Error{ErrorCode::corrupt,
                               "the model " + served.name + " cannot chat: " + reason +
                                   "; the setting chat_template gives it another",
                               "model"};
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

ServedModel::~ServedModel() {
  if (lineage != nullptr) lineage->leave(*engine);
}

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

class Registry::Loading {
 public:
  // Waits while another loads that name; the mutex is held and stays held.
  Loading(Registry& registry, std::string name, std::unique_lock<std::mutex>& lock)
      : registry_(registry), name_(std::move(name)) {
    registry_.loaded_.wait(lock, [this] { return !registry_.loading_.contains(name_); });
    registry_.loading_.insert(name_);
  }
  ~Loading() {
    const std::lock_guard lock(registry_.mutex_);
    registry_.loading_.erase(name_);
    registry_.loaded_.notify_all();
  }
  Loading(const Loading&) = delete;
  Loading& operator=(const Loading&) = delete;

 private:
  Registry& registry_;
  const std::string name_;
};

Result<void> Registry::publish(const std::string& name, const std::filesystem::path& path) {
  std::unique_lock lock(mutex_);
  const Loading loading(*this, name, lock);
  lock.unlock();
  return load(name, path);
}

Result<void> Registry::try_publish(const std::string& name, const std::filesystem::path& path) {
  std::unique_lock lock(mutex_);
  if (loading_.contains(name)) {
    return Error{ErrorCode::conflict, "a model " + name + " is being loaded; try again later",
                 "name"};
  }
  const Loading loading(*this, name, lock);
  lock.unlock();
  return load(name, path);
}

Result<void> Registry::load(const std::string& name, const std::filesystem::path& path) {
  const std::lock_guard one(one_load_);
  const auto stamp = stamp_of(path);  // before it is read: a later change is seen as one
  auto model = load_model(path, packing_);
  if (!model) return model.error();
  auto served = std::make_shared<ServedModel>();
  served->name = name;
  served->path = path;
  served->options = options_;
  if (!may_draft(options_.draft_model.get(), **model)) served->options.draft_model = nullptr;
  served->stamp = stamp.value_or(FileStamp{});
  served->created = served->stamp.modified_ns / 1000000000;
  served->model = std::move(*model);
  served->longest_token = longest_token(*served->model->tokenizer);
  take_chat_template(*served, chat_template_);
  if (auto made = start_engine(*served); !made) return made.error();
  return swap_in(std::move(served));
}

Result<void> Registry::swap_in(std::shared_ptr<ServedModel> served) {
  const std::string name = served->name;
  const size_t weight_bytes = served->model->weight_bytes;
  const std::string path = served->path.string();
  std::shared_ptr<ServedModel> replaced;  // destroyed after the lock is gone
  {
    const std::lock_guard lock(mutex_);
    if (draining_) return Error{ErrorCode::unavailable, "the server is shutting down", ""};
    auto& lineage = lineages_[name];
    if (lineage == nullptr) lineage = std::make_shared<Lineage>();
    lineage->join(*served->engine);
    served->lineage = lineage;
    replaced = std::exchange(models_[name], std::move(served));
  }
  log_info("model served",
           {{"name", name}, {"path", path}, {"weight_bytes", std::to_string(weight_bytes)}});
  return {};
}

Result<void> Registry::remove(const std::string& name) {
  std::shared_ptr<ServedModel> removed;  // destroyed after the lock is gone
  {
    const std::lock_guard lock(mutex_);
    if (loading_.contains(name)) {
      return Error{ErrorCode::conflict, "a model " + name + " is being loaded; try again later",
                   "name"};
    }
    const auto found = models_.find(name);
    if (found == models_.end()) {
      return Error{ErrorCode::not_found,
                   "no model is called \"" + name + "\"; GET /v1/models lists them", "model"};
    }
    removed = std::move(found->second);
    models_.erase(found);
  }
  log_info("model removed", {{"name", name}, {"path", removed->path.string()}});
  return {};
}

void Registry::set_names(NamePolicy names) {
  const std::lock_guard lock(mutex_);
  names_ = std::move(names);
}

// The mutex is held.
std::shared_ptr<ServedModel> Registry::resolve(const std::string& name) const {
  auto found = models_.find(name);
  if (found != models_.end()) return found->second;
  const auto alias = names_.aliases.find(name);
  if (alias == names_.aliases.end()) return nullptr;
  found = models_.find(alias->second);
  return found == models_.end() ? nullptr : found->second;
}

std::shared_ptr<ServedModel> Registry::exact(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  const auto found = models_.find(name);
  return found == models_.end() ? nullptr : found->second;
}

std::shared_ptr<ServedModel> Registry::named(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  return resolve(name);
}

Result<std::shared_ptr<ServedModel>> Registry::find(const std::string& name) const {
  using Unknown = NamePolicy::Unknown;
  const std::lock_guard lock(mutex_);
  if (auto served = resolve(name)) return served;
  const bool takes_only = name.empty() || names_.unknown != Unknown::refuse;
  const bool takes_first = names_.unknown == Unknown::serve && !models_.empty();
  if (takes_first || (takes_only && models_.size() == 1)) return models_.begin()->second;
  std::string names;
  for (const auto& [served, model] : models_) names += (names.empty() ? "" : ", ") + served;
  const auto alias = names_.aliases.find(name);
  const std::string stands_for =
      alias == names_.aliases.end() ? "" : " (it stands for \"" + alias->second + "\")";
  return Error{ErrorCode::not_found,
               "no model is called \"" + name + "\"" + stands_for +
                   "; served are: " + (names.empty() ? "none" : names),
               "model"};
}

std::vector<std::shared_ptr<ServedModel>> Registry::list() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<ServedModel>> all;
  for (const auto& [name, model] : models_) all.push_back(model);
  return all;
}

std::vector<std::string> Registry::aliases_of(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> all;
  for (const auto& [alias, model] : names_.aliases) {
    if (model == name && !models_.contains(alias)) all.push_back(alias);
  }
  return all;
}

std::vector<ModelTotals> Registry::totals() const {
  std::map<std::string, std::shared_ptr<Lineage>> lineages;
  {
    const std::lock_guard lock(mutex_);
    lineages = lineages_;
  }
  std::vector<ModelTotals> all;
  for (const auto& [name, lineage] : lineages) all.push_back({name, lineage->totals()});
  return all;
}

void Registry::drain() {
  {
    const std::lock_guard lock(mutex_);
    draining_ = true;
  }
  for (const auto& served : list()) served->engine->drain();
}

bool Registry::idle() const {
  const std::lock_guard lock(mutex_);
  return std::ranges::all_of(lineages_, [](const auto& entry) { return entry.second->idle(); });
}

}  // namespace tristill::models
