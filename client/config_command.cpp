// tristill config: the settings as the client takes them, and where from.
#include "client/commands.h"

namespace tristill::client {
namespace {

struct Shown {
  const char* name;
  const Setting& setting;
  bool secret = false;
};

ExitCode show_config(Session& session) {
  const Settings& settings = session.settings;
  const std::vector<Shown> all = {{"profile", settings.profile},
                                  {"server", settings.server},
                                  {"api_key", settings.api_key, /*secret=*/true},
                                  {"ca_file", settings.ca_file},
                                  {"model", settings.model}};
  Json object = {{"config_file", settings.config_file.string()},
                 {"config_file_exists", settings.config_found}};
  std::vector<std::vector<std::string>> rows;
  for (const Shown& shown : all) {
    const bool hide = shown.secret && !shown.setting.value.empty();
    const std::string value = hide ? "***" : shown.setting.value;
    rows.push_back({shown.name, value, shown.setting.origin});
    object[shown.name] = {{"value", value}, {"origin", shown.setting.origin}};
  }
  if (session.out.json()) {
    session.out.object(object);
    return kExitOk;
  }
  session.out.text(format_table({"SETTING", "VALUE", "FROM"}, rows));
  session.out.text("configuration file: " + printable(settings.config_file.string()) +
                   (settings.config_found ? "\n" : " (does not exist)\n"));
  return kExitOk;
}

}  // namespace

void add_config_command(CLI::App& app, Plan& plan) {
  CLI::App* config = app.add_subcommand("config", "The client's settings");
  config->require_subcommand(1);
  config->fallthrough();
  config->add_subcommand("show", "Print every setting and where it comes from; no keys")
      ->callback([&plan] { plan.action = show_config; });
}

}  // namespace tristill::client
