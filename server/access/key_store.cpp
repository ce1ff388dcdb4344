#include "server/access/key_store.h"

#include <algorithm>
#include <iterator>
#include <set>

#include "base/atomic_file.h"
#include "server/access/key_file.h"
#include "server/http/request_id.h"

namespace tristill::access {
namespace {

constexpr size_t kMaxFile = 4 << 20;
constexpr size_t kSecretBytes = 32;

Key setting_key(const std::string& secret) {
  return {.id = std::string(kSettingKeyId),
          .name = "api_key",
          .scopes = Scopes(kScopes.begin(), kScopes.end()),
          .hash = sha256(secret)};
}

// Whether somebody can always manage keys.
bool has_keeper(const std::vector<Key>& keys) {
  return std::any_of(keys.begin(), keys.end(), [](const Key& key) {
    return key.scopes.contains(Scope::admin) && !key.expires_at;
  });
}

Result<std::vector<Key>> read_keys(const std::filesystem::path& path) {
  const auto text = read_file(path, kMaxFile);
  if (text) return parse_key_file(*text, path.string());
  if (text.error().code == ErrorCode::not_found) return std::vector<Key>();
  return text.error();
}

bool is_from_setting(const Key& key) { return key.id == kSettingKeyId; }

}  // namespace

Result<std::unique_ptr<KeyStore>> KeyStore::open(KeyStoreOptions options) {
  const std::string setting_key = options.setting_key;
  std::unique_ptr<KeyStore> store(new KeyStore(std::move(options)));
  if (auto loaded = store->reload(setting_key); !loaded) return loaded.error();
  return store;
}

std::shared_ptr<const KeyStore::Keys> KeyStore::keys() const {
  const std::lock_guard lock(mutex_);
  return keys_;
}

bool KeyStore::is_guarded() const {
  const std::lock_guard lock(mutex_);
  return guarded_;
}

bool KeyStore::is_open() const { return keys()->empty(); }

std::vector<Key> KeyStore::list() const { return *keys(); }

std::optional<Key> KeyStore::find(std::string_view secret) const {
  const auto all = keys();
  const Sha256Digest hash = sha256(secret);
  const Key* found = nullptr;
  for (const Key& key : *all) {
    if (same_digest(key.hash, hash)) found = &key;  // and on: each takes the same time
  }
  if (found == nullptr) return std::nullopt;
  if (found->expires_at && *found->expires_at <= options_.now()) return std::nullopt;
  return *found;
}

void KeyStore::take(Keys keys) {
  std::set<std::string> ids;
  for (const Key& key : keys) ids.insert(key.id);
  limits_.retain(ids);
  const std::lock_guard lock(mutex_);
  keys_ = std::make_shared<const Keys>(std::move(keys));
}

Result<void> KeyStore::replace(Keys keys) {
  std::vector<Key> written;
  std::remove_copy_if(keys.begin(), keys.end(), std::back_inserter(written), is_from_setting);
  auto stored = write_file_atomically(options_.path, key_file_text(written), 0600);
  if (stored) take(std::move(keys));
  return stored;
}

Result<KeyStore::Created> KeyStore::create(const KeyRequest& request) {
  const std::lock_guard changing(changing_);
  Keys all = list();
  if (all.size() >= kMaxKeys) {
    return Error{ErrorCode::conflict,
                 "there are " + std::to_string(all.size()) + " keys already; delete some first",
                 ""};
  }
  Created made;
  made.secret = "tsk-" + http::random_hex(kSecretBytes);
  const int64_t now = options_.now();
  made.key = {.id = "key_" + http::random_hex(8),
              .name = request.name,
              .scopes = request.scopes,
              .created = now,
              .rates = request.rates,
              .hash = sha256(made.secret)};
  if (request.expires_in) made.key.expires_at = now + *request.expires_in;
  all.push_back(made.key);
  if (!has_keeper(all)) {
    return Error{ErrorCode::invalid_argument,
                 "the first key must have the scope admin and not expire: from then on every "
                 "request needs a key, and nobody could make another",
                 "scopes"};
  }
  if (auto stored = replace(std::move(all)); !stored) return stored.error();
  return made;
}

Result<void> KeyStore::remove(const std::string& id) {
  const std::lock_guard changing(changing_);
  Keys all = list();
  const auto found =
      std::find_if(all.begin(), all.end(), [&](const Key& key) { return key.id == id; });
  if (found == all.end()) {
    return Error{ErrorCode::not_found, "no key has the id " + id + "; GET /keys lists them", "id"};
  }
  if (is_from_setting(*found)) {
    return Error{ErrorCode::conflict, "this key comes from the setting api_key; take it out there",
                 "id"};
  }
  all.erase(found);
  if (!all.empty() && !has_keeper(all)) {
    return Error{ErrorCode::conflict,
                 "this is the last key with the scope admin that does not expire: nobody could "
                 "manage the others; delete those first, or make another such key",
                 "id"};
  }
  if (all.empty() && is_guarded()) {
    return Error{ErrorCode::conflict,
                 "this is the last key, and others than this machine reach the daemon: it would be "
                 "open to them",
                 "id"};
  }
  return replace(std::move(all));
}

Result<void> KeyStore::reload(std::optional<std::string> given) {
  const std::lock_guard changing(changing_);
  auto read = read_keys(options_.path);
  if (!read) return read.error();
  Keys all;
  const Keys before = list();
  if (given && !given->empty()) all.push_back(setting_key(*given));
  if (!given && !before.empty() && is_from_setting(before[0])) all.push_back(before[0]);
  all.insert(all.end(), read->begin(), read->end());
  if (all.empty() && is_guarded()) {
    return Error{ErrorCode::unavailable,
                 options_.path.string() +
                     " holds no key any more, and others than this machine reach the daemon: "
                     "the keys from before stay",
                 "keys"};
  }
  take(std::move(all));
  return {};
}

Result<void> KeyStore::must_guard() {
  const std::lock_guard lock(mutex_);
  guarded_ = !keys_->empty();
  if (guarded_) return {};
  return Error{ErrorCode::invalid_argument,
               "other machines reach this address and no API key exists: whoever finds it could "
               "use the models, start jobs and delete what there is. Set an API key "
               "(TRISTILL_API_KEY or --api-key-file), or make one with POST /keys while the daemon "
               "listens on 127.0.0.1, or accept that with --allow-open-network yes",
               "host"};
}

}  // namespace tristill::access
