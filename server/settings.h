// Settings of tristilld: flags over environment (TRISTILL_*) over file over defaults, from one
// table. Knows where each value came from. The file holds no secret: the API key comes by
// environment, by flag or from a file of its own.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"

namespace tristill::server {

struct Settings {
  std::string host = "127.0.0.1";
  int port = 8080;
  std::filesystem::path data = "data";
  std::vector<std::string> models;
  std::vector<std::string> model_aliases;  // NAME=MODEL: what clients send, what is served
  std::string unknown_model = "auto";
  std::string strict = "off";
  std::string api_key;  // empty: none is asked for
  std::string api_key_file;
  std::string allow_open_network = "no";
  std::string tls_cert;
  std::string tls_key;
  std::string tls_client_ca;
  std::string socket_mode = "0600";  // octal digits
  std::vector<std::string> cors_origins;
  std::vector<std::string> allowed_hosts;
  std::string worker;        // empty: tristill-worker beside this program
  uint32_t threads = 0;
  std::string pin_threads = "off";
  uint32_t max_sequences = 16;
  uint32_t max_queue = 256;
  uint32_t max_context = 0;
  uint32_t kv_cache_tokens = 0;
  std::string kv_format = "fp16";
  std::string prefix_cache = "on";
  uint32_t prefill_tokens = 64;
  uint32_t draft_tokens = 10;
  std::filesystem::path draft_model;
  std::string chat_template;  // empty: the models' own
  std::string head = "int8";
  std::string isa = "auto";
  std::string device = "cpu";
  double drain_delay_seconds = 0;
  double drain_seconds = 10;
  double stall_seconds = 120;
  std::string log_level = "info";
  std::string log_format = "human";

  enum class Action { serve, print_config, help, version } action = Action::serve;
  std::map<std::string, std::string> origins;  // "port" -> "flag --port"
};

// Errors: invalid_argument, param the setting, naming where the wrong value came from.
Result<Settings> read_settings(int argc, const char* const* argv);

std::string help_text();
// Every setting, its value and its origin; an API key is shown as "***".
std::string describe(const Settings& settings);

// The names of settings that differ and that a reload (App::reload) does not take over.
std::vector<std::string> settings_for_restart(const Settings& running, const Settings& fresh);

}  // namespace tristill::server
