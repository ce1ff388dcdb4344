// KeyStore: the API keys of this daemon, in DATA/keys.json and one that the settings may name. A
// key is 256 random bits, so its plain SHA-256 is all that is kept: guessing it back is hopeless
// however fast the hash is, and a slow one would only make every request slow. Any thread.
#pragma once

#include <ctime>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/sha256.h"
#include "server/access/limits.h"
#include "server/access/scope.h"

namespace tristill::access {

struct Key {
  std::string id;  // public: "key_" and 16 hex digits
  std::string name;  // for people
  Scopes scopes;
  int64_t created = 0;  // seconds of Unix time
  std::optional<int64_t> expires_at;  // from then on it is unknown
  Rates rates;
  Sha256Digest hash{};
};

// What POST /keys asks for.
struct KeyRequest {
  std::string name;
  Scopes scopes;
  std::optional<int64_t> expires_in;  // seconds
  Rates rates;
};

inline constexpr std::string_view kSettingKeyId = "setting";

struct KeyStoreOptions {
  std::filesystem::path path;  // may not be there yet
  std::string setting_key;  // a key of all scopes under kSettingKeyId; empty: none
  std::function<int64_t()> now = [] { return static_cast<int64_t>(std::time(nullptr)); };
};

class KeyStore {
 public:
  static constexpr size_t kMaxKeys = 1000;

  // Errors: corrupt for a file that is no list of keys, with the reason.
  static Result<std::unique_ptr<KeyStore>> open(KeyStoreOptions options);

  // No key exists: everybody may do everything.
  bool is_open() const;
  // The key whose secret this is, in a time that does not depend on the secret.
  std::optional<Key> find(std::string_view secret) const;
  std::vector<Key> list() const;  // oldest first, the setting's before them

  struct Created {
    Key key;
    std::string secret;  // "tsk-" and 64 hex digits; nowhere else, and never again
  };
  // On disk when it returns. Errors: invalid_argument when nobody could manage keys afterwards;
  // conflict beyond kMaxKeys; resource_exhausted on a full disk.
  Result<Created> create(const KeyRequest& request);
  // Errors: not_found; conflict for the setting's key, when nobody could manage keys afterwards, or
  // when the daemon must be guarded and this is the last.
  Result<void> remove(const std::string& id);
  // Reads the file again, and takes another key of the settings when one is given. On an error,
  // also when the daemon must be guarded and there is no key any more, those from before stay.
  Result<void> reload(std::optional<std::string> setting_key = std::nullopt);
  // From now on the daemon must not be without a key: others than this machine reach it. Errors:
  // invalid_argument when it is; nothing is held then.
  Result<void> must_guard();

  Limits& limits() { return limits_; }

 private:
  using Keys = std::vector<Key>;
  explicit KeyStore(KeyStoreOptions options) : options_(std::move(options)) {}
  std::shared_ptr<const Keys> keys() const;
  bool is_guarded() const;
  Result<void> replace(Keys keys);
  void take(Keys keys);

  const KeyStoreOptions options_;
  Limits limits_;
  std::mutex changing_;  // held while one caller changes the file
  mutable std::mutex mutex_;  // guards what follows
  std::shared_ptr<const Keys> keys_ = std::make_shared<const Keys>();
  bool guarded_ = false;
};

}  // namespace tristill::access
