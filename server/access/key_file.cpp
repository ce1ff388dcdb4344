#include "server/access/key_file.h"

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>

#include "train/job/fields.h"

namespace tristill::access {
namespace {

using job::Fields;
using nlohmann::json;

constexpr int64_t kMaxRate = 1'000'000'000;
constexpr int64_t kMaxLife = int64_t{100} * 366 * 86400;
constexpr int64_t kMaxTime = int64_t{1} << 40;
constexpr size_t kMaxName = 100;

void read_name(Fields& fields, std::string& name) {
  fields.require("name");
  fields.text("name", name);
  const bool is_plain =
      std::none_of(name.begin(), name.end(), [](unsigned char c) { return c < ' ' || c == 127; });
  if (name.empty() || name.size() > kMaxName || !is_plain) {
    fields.refuse("name", "1 to 100 bytes of text without control characters");
  }
}

void read_scopes(Fields& fields, Scopes& scopes) {
  std::vector<std::string> names;
  fields.require("scopes");
  fields.texts("scopes", kScopes.size(), names);
  for (const std::string& name : names) {
    if (const auto scope = scope_of(name)) scopes.insert(*scope);
    else fields.refuse("scopes", "a list of infer, train, admin");
  }
  if (names.empty()) fields.refuse("scopes", "a list of at least one of infer, train, admin");
}

void read_rates(Fields& fields, Rates& rates) {
  fields.whole("requests_per_minute", 1, kMaxRate, rates.requests_per_minute);
  fields.whole("tokens_per_minute", 1, kMaxRate, rates.tokens_per_minute);
}

bool read_hash(const std::string& text, Sha256Digest& hash) {
  if (text.size() != hash.size() * 2) return false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const bool digit = c >= '0' && c <= '9';
    if (!digit && (c < 'a' || c > 'f')) return false;
    const auto value = static_cast<uint8_t>(digit ? c - '0' : c - 'a' + 10);
    hash[i / 2] = static_cast<uint8_t>(i % 2 == 0 ? value << 4 : hash[i / 2] | value);
  }
  return true;
}

void read_key(Fields& fields, Key& key) {
  fields.require("id");
  fields.text("id", key.id);
  if (!key.id.starts_with("key_") || key.id.size() > 64) fields.refuse("id", "key_ and digits");
  read_name(fields, key.name);
  read_scopes(fields, key.scopes);
  fields.require("created");
  fields.whole("created", 0, kMaxTime, key.created);
  int64_t expires_at = -1;
  fields.whole("expires_at", 0, kMaxTime, expires_at);
  if (expires_at >= 0) key.expires_at = expires_at;
  read_rates(fields, key.rates);
  std::string hash;
  fields.require("sha256");
  fields.text("sha256", hash);
  if (!read_hash(hash, key.hash)) fields.refuse("sha256", "64 hexadecimal digits");
}

}  // namespace

Result<std::vector<Key>> parse_key_file(std::string_view text, const std::string& path) {
  const auto corrupt = [&](const std::string& reason) {
    return Error{ErrorCode::corrupt, path + ": " + reason, "keys"};
  };
  const auto object = job::parse_json_object(text);
  if (!object) return corrupt(object.error().message);
  Fields fields(*object, "");
  int version = 0;
  fields.require("version");
  fields.whole("version", 1, 1, version);
  std::vector<Key> keys;
  fields.require("keys");
  fields.objects("keys", KeyStore::kMaxKeys, [&](Fields& one) {
    Key key;
    read_key(one, key);
    keys.push_back(std::move(key));
  });
  fields.finish();
  if (fields.failed()) return corrupt(fields.error().message);
  return keys;
}

std::string key_file_text(const std::vector<Key>& keys) {
  json list = json::array();
  for (const Key& key : keys) {
    json one = {{"id", key.id},
                {"name", key.name},
                {"scopes", json::array()},
                {"created", key.created},
                {"sha256", to_hex(key.hash)}};
    for (const Scope scope : key.scopes) one["scopes"].push_back(to_string(scope));
    if (key.expires_at) one["expires_at"] = *key.expires_at;
    if (key.rates.requests_per_minute > 0)
      one["requests_per_minute"] = key.rates.requests_per_minute;
    if (key.rates.tokens_per_minute > 0) one["tokens_per_minute"] = key.rates.tokens_per_minute;
    list.push_back(std::move(one));
  }
  const json file = {{"version", 1}, {"keys", list}};
  return file.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

Result<KeyRequest> parse_key_request(std::string_view text) {
  const auto object = job::parse_json_object(text);
  if (!object) return object.error();
  Fields fields(*object, "");
  KeyRequest request;
  read_name(fields, request.name);
  read_scopes(fields, request.scopes);
  int64_t expires_in = 0;
  fields.whole("expires_in", 1, kMaxLife, expires_in);
  if (expires_in > 0) request.expires_in = expires_in;
  read_rates(fields, request.rates);
  fields.finish();
  if (fields.failed()) return fields.error();
  return request;
}

}  // namespace tristill::access
