#include "server/settings.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "base/atomic_file.h"
#include "base/name.h"

namespace tristill::server {
namespace {

// One setting: how it is named, read and shown. The environment's name is TRISTILL_ and the name
// in capitals; the flag is -- and the name with dashes.
struct Setting {
  const char* name;
  const char* value_name;
  const char* help;
  std::function<std::string(Settings&, const std::string&)> set;  // what is accepted, or empty
  std::function<std::string(const Settings&)> show;
  std::vector<std::string> Settings::* list = nullptr;  // of a setting that may be repeated
  bool secret = false;  // never in the file, never shown
};

template <class T>
std::optional<T> parse_number(const std::string& text) {
  T value{};
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failure != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

template <class T>
std::string shown(T number) {
  std::string text = std::to_string(number);
  if (text.find('.') != std::string::npos) text.erase(text.find_last_not_of('0') + 1);
  if (text.ends_with('.')) text.pop_back();
  return text;
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

template <class T>
Setting number(const char* name, const char* help, T Settings::* member, T low, T high) {
  return {name, "N", help,
          [=](Settings& s, const std::string& text) -> std::string {
            const auto value = parse_number<T>(text);
            if (!value || !(*value >= low && *value <= high)) {
              return "a number from " + shown(low) + " to " + shown(high);
            }
            s.*member = *value;
            return "";
          },
          [=](const Settings& s) { return shown(s.*member); }};
}

Setting word(const char* name, const char* value_name, const char* help,
             std::string Settings::* member, std::vector<std::string> accepted = {}) {
  return {name, value_name, help,
          [=](Settings& s, const std::string& text) -> std::string {
            if (!accepted.empty() &&
                std::find(accepted.begin(), accepted.end(), text) == accepted.end()) {
              std::string names;
              for (const std::string& one : accepted) names += (names.empty() ? "" : ", ") + one;
              return names;
            }
            s.*member = text;
            return "";
          },
          [=](const Settings& s) { return s.*member; }};
}

Setting file(const char* name, const char* help, std::filesystem::path Settings::* member) {
  return {name, "FILE", help,
          [=](Settings& s, const std::string& text) { return s.*member = text, std::string(); },
          [=](const Settings& s) { return (s.*member).string(); }};
}

// Words without a comma: several may stand in one value.
Setting words(const char* name, const char* value_name, const char* help,
              std::vector<std::string> Settings::* member) {
  return {name,
          value_name,
          help,
          [=](Settings& s, const std::string& text) -> std::string {
            for (size_t from = 0; from <= text.size();) {
              const size_t comma = std::min(text.find(',', from), text.size());
              if (comma > from) (s.*member).push_back(text.substr(from, comma - from));
              from = comma + 1;
            }
            return "";
          },
          [=](const Settings& s) { return joined(s.*member); },
          member};
}

// Who may reach the daemon, and how.
std::vector<Setting> network_settings() {
  return {
      word("allow_open_network", "WHETHER",
           "listen beyond this machine although no API key exists: whoever finds the address may "
           "do everything",
           &Settings::allow_open_network, {"no", "yes"}),
      word("tls_cert", "FILE", "PEM file of a certificate and its chain: HTTPS instead of HTTP",
           &Settings::tls_cert),
      word("tls_key", "FILE", "PEM file of its key", &Settings::tls_key),
      word("tls_client_ca", "FILE", "PEM file of who signs the certificates that clients must show",
           &Settings::tls_client_ca),
      {"socket_mode", "MODE", "who may use the socket of --host unix:PATH, as of chmod",
       [](Settings& s, const std::string& text) -> std::string {
         const bool is_octal = text.find_first_not_of("01234567") == std::string::npos;
         if (!is_octal || text.size() < 3 || text.size() > 4 ||
             (text.size() == 4 && text[0] != '0'))
           return "three octal digits such as 660";
         s.socket_mode = text.size() == 3 ? "0" + text : text;
         return "";
       },
       [](const Settings& s) { return s.socket_mode; }},
      words("cors_origins", "ORIGINS",
            "origins whose pages may use the API: https://ide.example, localhost for any of this "
            "machine, * for all; may be repeated",
            &Settings::cors_origins),
      words("allowed_hosts", "NAMES",
            "names this server answers to besides those of the loopback interface; may be repeated",
            &Settings::allowed_hosts),
  };
}

// What SIGHUP brings up to date (App::reload, and the log in main.cpp).
constexpr std::string_view kReloaded[] = {"model",      "model_alias", "unknown_model", "log_level",
                                          "log_format", "api_key",     "api_key_file"};

// NAME=MODEL, or several with commas between. The names are those that clients send.
std::string add_aliases(Settings& s, const std::string& text) {
  constexpr size_t kMaxName = 128;
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.find(',', at), text.size());
    const std::string pair = text.substr(at, end - at);
    const size_t equals = pair.find('=');
    const bool is_pair = equals != std::string::npos && equals > 0 && equals <= kMaxName;
    if (!is_pair || !is_name(std::string_view(pair).substr(equals + 1))) {
      return "NAME=MODEL, or several of them with commas between";
    }
    s.model_aliases.push_back(pair);
    at = end + 1;
  }
  return "";
}

// Names and prompts of models, stopping and the log.
std::vector<Setting> operation_settings() {
  return {
      word("chat_template", "FILE",
           "chat template (Jinja) for all models, or the name of one: chatml, plain; default: the "
           "model file's own, plain for files without",
           &Settings::chat_template),
      {"model_alias", "NAME=MODEL",
       "name that clients send for a model: gpt-3.5-turbo-instruct=starter; may be repeated",
       add_aliases, [](const Settings& s) { return joined(s.model_aliases); },
       &Settings::model_aliases},
      word("unknown_model", "HOW",
           "what a name gets that no model has: serve, the first model; 404; auto, the only model "
           "when one is served, else 404",
           &Settings::unknown_model, {"auto", "serve", "404"}),
      word(
          "strict", "WHETHER",
          "on: refuse what OpenAI's specification does not have (unknown fields, more than 4 stops "
          "or 5 logprobs, stream_options without stream) where clients rely on leniency",
          &Settings::strict, {"off", "on"}),
      number<double>("drain_delay_seconds",
                     "how long to go on serving after a signal to stop while /readyz says 503, for "
                     "load balancers",
                     &Settings::drain_delay_seconds, 0, 3600),
      number<double>("stall_seconds",
                     "a step that takes longer means a dead engine: /livez says 503, and systemd's "
                     "watchdog restarts; 0: never",
                     &Settings::stall_seconds, 0, 86400),
      word("log_format", "FORMAT", "human: key=value lines; json: an object a line",
           &Settings::log_format, {"human", "json"}),
  };
}

const std::vector<Setting>& table() {
  static const std::vector<Setting> settings = [] {
    std::vector<Setting> all = {
        word("host", "HOST", "address to listen on, or unix:PATH", &Settings::host),
        number<int>("port", "port to listen on; 0 takes any free one", &Settings::port, 0, 65535),
        {"data", "DIR", "folder of jobs, traces, corpora and trained models",
         [](Settings& s, const std::string& text) {
           return s.data = text, std::string(text.empty() ? "a folder" : "");
         },
         [](const Settings& s) { return s.data.string(); }},
        {"model", "FILE", "model file to serve under the name of its stem; may be repeated",
         [](Settings& s, const std::string& text) {
           s.models.push_back(text);
           return std::string(text.empty() ? "a model file" : "");
         },
         [](const Settings& s) { return joined(s.models); }, &Settings::models},
        word("api_key", "KEY",
             "key that clients must send; others see flags, so better by environment",
             &Settings::api_key),
        word("api_key_file", "FILE", "file whose first line is that key", &Settings::api_key_file),
        word("worker", "FILE", "tristill-worker; default: beside this program", &Settings::worker),
        number<uint32_t>("threads", "compute threads; 0: one a core", &Settings::threads, 0, 1024),
        word("pin_threads", "WHETHER", "keep each compute thread on a core of its own",
             &Settings::pin_threads, {"on", "off"}),
        number<uint32_t>("max_sequences", "sequences computed at once, a model",
                         &Settings::max_sequences, 1, 4096),
        number<uint32_t>("max_queue", "requests that may wait, a model", &Settings::max_queue, 1,
                         1000000),
        number<uint32_t>("max_context", "tokens of a sequence at most; 0: the model's",
                         &Settings::max_context, 0, 1 << 24),
        number<uint32_t>("kv_cache_tokens",
                         "tokens that the cache of a model holds; 0: enough for all sequences, at "
                         "most 1 GiB",
                         &Settings::kv_cache_tokens, 0, 1 << 30),
        word("kv_format", "NAME", "numbers of the cache", &Settings::kv_format, {"fp16", "int8"}),
        word("prefix_cache", "WHETHER",
             "remember beginnings of texts; disk: from one run to the next, in DATA/prefix-cache",
             &Settings::prefix_cache, {"on", "off", "disk"}),
        number<uint32_t>("prefill_tokens",
                         "prompt tokens a step while others generate: fewer make a steadier "
                         "stream, more a faster start",
                         &Settings::prefill_tokens, 1, 65536),
        number<uint32_t>("draft_tokens",
                         "tokens guessed from the text so far and verified at once; 0: none",
                         &Settings::draft_tokens, 0, 64),
        file("draft_model",
             "small model that guesses for the models of the same tokenizer; verified, so no "
             "output changes",
             &Settings::draft_model),
        word("head", "NAME", "output head: int4 is faster and less exact", &Settings::head,
             {"int8", "int4"}),
        word("isa", "NAME", "kernels to use", &Settings::isa,
             {"auto", "scalar", "avx2", "avxvnni", "avx512vnni", "avx512vbmi", "neon", "neoni8mm"}),
        word("device", "NAME", "where models are computed; cuda is the first NVIDIA GPU",
             &Settings::device, {"cpu", "cuda"}),
        number<double>("drain_seconds", "patience with running requests when stopping",
                       &Settings::drain_seconds, 0, 3600),
        word("log_level", "LEVEL", "least level that is logged", &Settings::log_level,
             {"debug", "info", "warn", "error"}),
    };
    for (Setting& setting : network_settings()) all.push_back(std::move(setting));
    for (Setting& setting : operation_settings()) all.push_back(std::move(setting));
    for (Setting& setting : all) setting.secret = std::string_view(setting.name) == "api_key";
    return all;
  }();
  return settings;
}

std::string flag_of(const Setting& setting) {
  std::string flag = "--" + std::string(setting.name);
  std::replace(flag.begin() + 2, flag.end(), '_', '-');
  return flag;
}

std::string variable_of(const Setting& setting) {
  std::string name = "TRISTILL_" + std::string(setting.name);
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return std::toupper(c); });
  return name;
}

Error refusal(const Setting& setting, const std::string& origin, const std::string& accepted) {
  return {ErrorCode::invalid_argument, origin + ": accepted is " + accepted, setting.name};
}

Result<void> apply(Settings& s, const Setting& setting, const std::string& value,
                   const std::string& origin) {
  if (const std::string accepted = setting.set(s, value); !accepted.empty()) {
    return refusal(setting, origin + " \"" + value + "\"", accepted);
  }
  s.origins[setting.name] = origin;
  return {};
}

Result<void> apply_file(Settings& s, const std::string& path) {
  const auto text = read_file(path, 1 << 20);
  if (!text) return text.error();
  const auto object = nlohmann::json::parse(*text, nullptr, false, true);
  if (!object.is_object())
    return Error{ErrorCode::invalid_argument, path + " is no JSON object", "config"};
  for (const auto& [key, value] : object.items()) {
    const auto found = std::find_if(table().begin(), table().end(),
                                    [&](const Setting& x) { return key == x.name; });
    if (found == table().end() || found->secret) {
      return Error{ErrorCode::invalid_argument,
                   path + ": \"" + key + "\" is no setting; see --help", key};
    }
    const auto values =
        value.is_array() && found->list != nullptr ? value : nlohmann::json::array({value});
    for (const auto& one : values) {
      if (!one.is_string() && !one.is_number()) {
        return refusal(*found, path + ": \"" + key + "\"", "a string or a number");
      }
      const std::string written = one.is_string() ? one.get<std::string>() : one.dump();
      if (auto done = apply(s, *found, written, path); !done) return done;
    }
  }
  return {};
}

struct Flag {
  const Setting* setting;
  std::string value;
};

struct CommandLine {
  std::vector<Flag> flags;
  std::string config;
  Settings::Action action = Settings::Action::serve;
};

Result<CommandLine> parse_flags(int argc, const char* const* argv) {
  CommandLine line;
  for (int i = 1; i < argc; ++i) {
    std::string flag = argv[i];
    if (flag == "--help" || flag == "-h") line.action = Settings::Action::help;
    else if (flag == "--version") line.action = Settings::Action::version;
    else if (flag == "--print-config") line.action = Settings::Action::print_config;
    if (flag == "--help" || flag == "-h" || flag == "--version" || flag == "--print-config")
      continue;
    std::optional<std::string> value;
    if (const size_t equals = flag.find('='); equals != std::string::npos) {
      value = flag.substr(equals + 1);
      flag.resize(equals);
    }
    const auto found = std::find_if(table().begin(), table().end(),
                                    [&](const Setting& x) { return flag == flag_of(x); });
    if (found == table().end() && flag != "--config") {
      return Error{ErrorCode::invalid_argument, "unknown flag " + flag + "; see --help", flag};
    }
    if (!value && i + 1 < argc) value = argv[++i];
    if (!value) return Error{ErrorCode::invalid_argument, flag + " needs a value", flag};
    if (flag == "--config") line.config = *value;
    else line.flags.push_back({&*found, *value});
  }
  return line;
}

}  // namespace

Result<Settings> read_settings(int argc, const char* const* argv) {
  auto line = parse_flags(argc, argv);
  if (!line) return line.error();
  Settings s;
  s.action = line->action;
  if (line->config.empty() && std::getenv("TRISTILL_CONFIG") != nullptr)
    line->config = std::getenv("TRISTILL_CONFIG");
  if (!line->config.empty()) {
    if (auto done = apply_file(s, line->config); !done) return done.error();
  }
  for (const Setting& setting : table()) {
    const char* value = std::getenv(variable_of(setting).c_str());
    if (value == nullptr) continue;
    if (setting.list != nullptr) (s.*setting.list).clear();
    if (auto done = apply(s, setting, value, "environment " + variable_of(setting)); !done)
      return done.error();
  }
  std::set<const Setting*> replaced;
  for (const Flag& flag : line->flags) {
    if (flag.setting->list != nullptr && replaced.insert(flag.setting).second) {
      (s.*flag.setting->list).clear();
    }
    if (auto done = apply(s, *flag.setting, flag.value, "flag " + flag_of(*flag.setting)); !done)
      return done.error();
  }
  if (s.api_key_file.empty()) return s;
  if (!s.api_key.empty()) {
    return Error{ErrorCode::invalid_argument,
                 "api_key (" + s.origins["api_key"] + ") and api_key_file (" +
                     s.origins["api_key_file"] + ") are both given; accepted is one",
                 "api_key_file"};
  }
  auto text = read_file(s.api_key_file, 1 << 16);
  if (!text) return text.error();
  s.api_key = text->substr(0, text->find_first_of("\r\n"));
  s.origins["api_key"] = "file " + s.api_key_file;
  if (s.api_key.empty()) {
    return Error{ErrorCode::invalid_argument, s.api_key_file + " holds no key", "api_key_file"};
  }
  return s;
}

std::string help_text() {
  std::string text =
      "usage: tristilld [flags]\n"
      "Serves ternary models through the OpenAI completions API and runs training jobs.\n\n";
  for (const Setting& setting : table()) {
    std::string left = "  " + flag_of(setting) + " " + setting.value_name;
    left.resize(std::max<size_t>(left.size() + 2, 26), ' ');
    text += left + setting.help + "\n";
  }
  text +=
      "  --config FILE           JSON file of the same settings, names with underscores\n"
      "  --print-config          print every setting and where it came from, then leave\n"
      "  --help, --version\n\n"
      "Each setting is also an environment variable: --max-queue is TRISTILL_MAX_QUEUE.\n"
      "Flags win over the environment, that over the file, that over the defaults.\n";
  return text;
}

std::string describe(const Settings& settings) {
  std::string text;
  for (const Setting& setting : table()) {
    std::string value = setting.show(settings);
    if (setting.secret && !value.empty()) value = "***";
    const auto origin = settings.origins.find(setting.name);
    text += std::string(setting.name) + " = " + value + "    (" +
            (origin == settings.origins.end() ? "default" : origin->second) + ")\n";
  }
  return text;
}

std::vector<std::string> settings_for_restart(const Settings& running, const Settings& fresh) {
  std::vector<std::string> names;
  for (const Setting& setting : table()) {
    const bool is_reloaded = std::ranges::find(kReloaded, setting.name) != std::end(kReloaded);
    if (!is_reloaded && setting.show(running) != setting.show(fresh)) {
      names.emplace_back(setting.name);
    }
  }
  return names;
}

}  // namespace tristill::server
