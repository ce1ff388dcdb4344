#include "client/settings.h"

#include <array>
#include <cstdlib>
#include <utility>

#include "base/atomic_file.h"
#include "client/failure.h"
#include "client/fields.h"

namespace tristill::client {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxConfigBytes = size_t{1} << 20;
constexpr size_t kMaxKeyFileBytes = size_t{64} << 10;
constexpr const char* kDefaultServer = "http://127.0.0.1:8080";

// A profile as the file has it; empty where it says nothing.
struct Profile {
  std::string server, api_key_file, ca_file, model;
};

struct ProfileKey {
  const char* name;
  std::string Profile::* member;
};
constexpr std::array<ProfileKey, 4> kProfileKeys = {{{"server", &Profile::server},
                                                     {"api_key_file", &Profile::api_key_file},
                                                     {"model", &Profile::model},
                                                     {"ca_file", &Profile::ca_file}}};

std::string read_named(const fs::path& path, size_t max_bytes, const char* param) {
  auto bytes = read_file(path, max_bytes);
  if (!bytes) throw Failure(exit_code(bytes.error().code), bytes.error().message, param);
  return std::move(*bytes);
}

// The configuration file, checked as a whole.
class ConfigFile {
 public:
  explicit ConfigFile(const fs::path& path) : path_(path) {
    const Json root = Json::parse(read_named(path, kMaxConfigBytes, "config"), nullptr, false);
    if (!root.is_object()) refuse(kExitData, "is no JSON object");
    for (const auto& [key, value] : root.items()) {
      if (key == "profile") {
        chosen_ = text(key, value);
      } else if (key == "profiles") {
        if (!value.is_object()) refuse(kExitUsage, "profiles is no object of profiles by name");
        profiles_ = value;
      } else {
        refuse(kExitUsage, "the key \"" + key + "\" is unknown; accepted are profile, profiles");
      }
    }
    for (const auto& [name, value] : profiles_.items()) read_profile(name, value);
  }

  const std::string& chosen() const { return chosen_; }

  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const auto& item : profiles_.items()) names.push_back(item.key());
    return names;
  }

  Profile profile(const std::string& name, const std::string& origin) const {
    const auto found = profiles_.find(name);
    if (found != profiles_.end()) return read_profile(name, *found);
    std::string all;
    for (const std::string& one : names()) all += (all.empty() ? "" : ", ") + one;
    throw Failure(kExitUsage,
                  "there is no profile \"" + name + "\" (" + origin + ") in " + path_.string() +
                      "; there are: " + (all.empty() ? "none" : all),
                  "profile");
  }

 private:
  [[noreturn]] void refuse(ExitCode code, const std::string& what) const {
    throw Failure(code, path_.string() + ": " + what, "config");
  }

  std::string text(const std::string& key, const Json& value) const {
    if (!value.is_string()) refuse(kExitUsage, key + " is no string");
    return value.get<std::string>();
  }

  Profile read_profile(const std::string& name, const Json& value) const {
    const std::string where = "profiles." + name;
    if (!value.is_object()) refuse(kExitUsage, where + " is no object");
    Profile profile;
    for (const auto& [key, item] : value.items()) {
      const auto* known = kProfileKeys.begin();
      while (known != kProfileKeys.end() && key != known->name) ++known;
      if (known == kProfileKeys.end()) {
        refuse(kExitUsage, "the key \"" + where + "." + key +
                               "\" is unknown; accepted are server, api_key_file, model, ca_file");
      }
      profile.*known->member = text(where + "." + key, item);
    }
    return profile;
  }

  fs::path path_;
  std::string chosen_;
  Json profiles_ = Json::object();
};

// A path in the configuration file: ~/ is the home, others are relative to the file's folder.
std::string path_in_config(const std::string& path, const fs::path& config,
                           const Environment& environment) {
  if (path.starts_with("~/")) {
    return (fs::path(environment("HOME").value_or("/")) / path.substr(2)).string();
  }
  return path.empty() ? path : (config.parent_path() / path).string();
}

fs::path config_path(const Environment& environment) {
  const fs::path folder = xdg_folder(environment, "XDG_CONFIG_HOME", ".config");
  return folder.empty() ? folder : folder / "config.json";
}

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return !path.empty() && fs::exists(path, ignored);
}

std::string read_key(const std::string& path) {
  const std::string bytes = read_named(path, kMaxKeyFileBytes, "api_key_file");
  std::string key = bytes.substr(0, bytes.find('\n'));
  if (key.ends_with('\r')) key.pop_back();
  if (key.empty()) {
    throw Failure(kExitUsage, "the first line of \"" + path + "\" is empty; it should be the key",
                  "api_key_file");
  }
  return key;
}

// The first of flag, environment, profile and default that says something.
struct Sources {
  const Environment& environment;
  std::string profile_origin;

  Setting pick(const char* flag, const std::optional<std::string>& given, const char* variable,
               const std::string& in_profile, const char* by_default) const {
    if (given) return {*given, std::string("flag ") + flag};
    if (auto value = environment(variable)) {
      return {*value, std::string("environment ") + variable};
    }
    if (!in_profile.empty()) return {in_profile, profile_origin};
    return {by_default, "default"};
  }
};

Setting pick_key(const Flags& flags, const Sources& sources, const Profile& profile,
                 bool own_server) {
  if (flags.api_key && flags.api_key_file) {
    throw Failure(kExitUsage, "give --api-key or --api-key-file, not both", "api_key");
  }
  if (flags.api_key) return {*flags.api_key, "flag --api-key"};
  if (flags.api_key_file) return {read_key(*flags.api_key_file), "flag --api-key-file"};
  if (auto key = sources.environment("TRISTILL_API_KEY")) {
    return {*key, "environment TRISTILL_API_KEY"};
  }
  if (auto file = sources.environment("TRISTILL_API_KEY_FILE")) {
    return {read_key(*file), "environment TRISTILL_API_KEY_FILE"};
  }
  if (profile.api_key_file.empty()) return {"", "default"};
  if (!own_server) return {"", "default; the profile's key is for its own server"};
  return {read_key(profile.api_key_file), sources.profile_origin};
}

}  // namespace

ApiOptions Settings::api() const {
  return {.server = server.value, .api_key = api_key.value, .ca_file = ca_file.value};
}

std::optional<std::string> process_environment(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr || *value == '\0') return std::nullopt;
  return value;
}

fs::path xdg_folder(const Environment& environment, const char* variable, const char* fallback) {
  const auto named = environment(variable);
  if (named && named->starts_with('/')) return fs::path(*named) / "tristill";
  const auto home = environment("HOME");
  return home ? fs::path(*home) / fallback / "tristill" : fs::path();
}

std::vector<std::string> profile_names(const Environment& environment) {
  const fs::path path = config_path(environment);
  return is_there(path) ? ConfigFile(path).names() : std::vector<std::string>();
}

Settings read_settings(const Flags& flags, const Environment& environment) {
  Settings settings;
  settings.config_file = config_path(environment);
  settings.config_found = is_there(settings.config_file);
  Sources sources{.environment = environment, .profile_origin = {}};
  settings.profile = sources.pick("--profile", flags.profile, "TRISTILL_PROFILE", "", "");
  Profile profile;
  if (settings.config_found) {
    const ConfigFile file(settings.config_file);
    if (settings.profile.value.empty() && !file.chosen().empty()) {
      settings.profile = {file.chosen(), "file " + settings.config_file.string()};
    }
    if (const std::string& name = settings.profile.value; !name.empty()) {
      profile = file.profile(name, settings.profile.origin);
      for (auto member : {&Profile::api_key_file, &Profile::ca_file}) {
        profile.*member = path_in_config(profile.*member, settings.config_file, environment);
      }
      sources.profile_origin = "profile " + name;
    }
  } else if (!settings.profile.value.empty()) {
    throw Failure(kExitNotFound,
                  "the profile \"" + settings.profile.value + "\" (" + settings.profile.origin +
                      ") needs the file " + settings.config_file.string() +
                      ", which does not exist",
                  "profile");
  }
  settings.server =
      sources.pick("--server", flags.server, "TRISTILL_SERVER", profile.server, kDefaultServer);
  settings.ca_file =
      sources.pick("--ca-file", flags.ca_file, "TRISTILL_CA_FILE", profile.ca_file, "");
  settings.model = sources.pick("--model", flags.model, "TRISTILL_MODEL_NAME", profile.model, "");
  const bool own_server =
      settings.server.value == (profile.server.empty() ? kDefaultServer : profile.server);
  settings.api_key = pick_key(flags, sources, profile, own_server);
  return settings;
}

}  // namespace tristill::client
