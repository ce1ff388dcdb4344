// The client's settings: flags over environment over the chosen profile of the configuration file
// over defaults. Knows where each value came from. The file holds names of key files, no keys.
// One thread.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "client/api.h"

namespace tristill::client {

// What the command line said; nothing where a flag was not given.
struct Flags {
  std::optional<std::string> profile, server, api_key, api_key_file, ca_file, model;
};

struct Setting {
  std::string value;
  std::string origin;  // "flag --server", "environment TRISTILL_SERVER", "profile home", "default"
};

struct Settings {
  std::filesystem::path config_file;  // where it is looked for; empty when there is no home
  bool config_found = false;
  Setting profile, server, api_key, ca_file, model;

  ApiOptions api() const;
};

// An environment variable's value; nothing when it is not set or empty.
using Environment = std::function<std::optional<std::string>(const char* name)>;
std::optional<std::string> process_environment(const char* name);

// A profile's key is for its own server: it is not taken when flag or environment name another.
// Failure: a wrong configuration file (data), an unknown key or profile (usage), a missing file
// (not found).
Settings read_settings(const Flags& flags, const Environment& environment);

// Of the configuration file; none without one. Failure: a wrong one.
std::vector<std::string> profile_names(const Environment& environment);

// XDG base directories: $variable when absolute, else $HOME/fallback; with /tristill after it.
// Empty without a home.
std::filesystem::path xdg_folder(const Environment& environment, const char* variable,
                                 const char* fallback);

}  // namespace tristill::client
