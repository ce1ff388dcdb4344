#include "client/commands.h"

#include <curl/curl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "base/utf8.h"
#include "client/interrupt.h"

namespace tristill::client {
namespace {

constexpr size_t kMaxInputBytes = size_t{1} << 30;

// An error on standard error: for people, or with --json as the daemon's error object.
void print_failure(const Failure& failure, bool json) {
  if (json) {
    const auto or_null = [](const std::string& s) { return s.empty() ? Json(nullptr) : Json(s); };
    const Json error = {{"message", failure.message},
                        {"param", or_null(failure.param)},
                        {"code", or_null(failure.code)},
                        {"exit", static_cast<int>(failure.exit)}};
    std::fprintf(stderr, "%s\n", json_line({{"error", error}}).c_str());
  } else {
    std::fprintf(stderr, "tristill: %s\n", printable(failure.message).c_str());
  }
}

// A wrong command line: CLI11 words it, we add where help is and our exit code.
int print_usage_error(const CLI::App& app, const CLI::ParseError& error, bool json) {
  if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
  const CLI::App* at = &app;
  while (!at->get_subcommands().empty()) at = at->get_subcommands().front();
  const std::string name =
      at == &app ? "tristill"
                 : (at->get_parent() == &app
                        ? "tristill " + at->get_name()
                        : "tristill " + at->get_parent()->get_name() + " " + at->get_name());
  const Failure failure(kExitUsage, std::string(error.what()) + "; see: " + name + " --help", "",
                        "usage");
  print_failure(failure, json);
  return kExitUsage;
}

constexpr const char* kFooter = R"(
Configuration:
  A setting is taken from its flag, else from the environment variable in
  brackets, else from a profile in the configuration file, else the default.
  $XDG_CONFIG_HOME/tristill/config.json (~/.config where that is not set):

  {"profile": "home",
   "profiles": {
     "home": {"server": "https://box:8443", "ca_file": "~/box.pem",
              "api_key_file": "~/.config/tristill/home.key", "model": "big"},
     "here": {"server": "unix:/run/tristill/tristilld.sock"}}}

  A profile's key is sent to its own server only. tristill config show tells
  what holds.

Exit status:
  0   it went well
  64  wrong flags, a wrong request or a wrong configuration file
  65  the data is of another kind: no text, no conversation
  66  a file, model, job or key does not exist
  69  the daemon is not there, is busy or answers something else
  70  a defect of the client or the daemon
  71  out of memory or disk
  73  the thing is in a state that forbids this
  75  the job that was followed was cancelled; it can be resumed
  77  the daemon refuses the API key, or a file cannot be read
  130 Ctrl-C

Files:
  $XDG_CONFIG_HOME/tristill/config.json   profiles
  $XDG_STATE_HOME/tristill/history        lines typed into tristill chat
                                          (~/.local/state where that is not set))";

int run_plan(Plan& plan) {
  try {
    const Settings settings = read_settings(plan.flags, process_environment);
    Api api(settings.api());
    Output out = Output::of_process(plan.json);
    Session session{.api = api, .out = out, .settings = settings};
    return plan.action(session);
  } catch (const Failure& failure) {
    if (interrupted()) die_of_interrupt();
    print_failure(failure, plan.json);
    return failure.exit;
  } catch (const std::exception& defect) {
    print_failure(Failure(kExitDefect, std::string("a defect of the client: ") + defect.what()),
                  plan.json);
    return kExitDefect;
  }
}

int run_parsed(CLI::App& app, Plan& plan, int argc, const char* const* argv) {
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    // Parsing stopped, so the flag itself may not have been stored.
    bool json = false;
    for (int i = 1; i < argc; ++i) json = json || std::strcmp(argv[i], "--json") == 0;
    return print_usage_error(app, error, json);
  }
  if (!plan.action) return kExitOk;  // a command that needs no daemon has printed already
  return run_plan(plan);
}

}  // namespace

void build_app(CLI::App& app, Plan& plan) {
  app.description("Client of tristilld: completions, training jobs, models and traces.");
  app.set_version_flag("--version", "tristill 0.1.0");
  app.add_option("--server", plan.flags.server,
                 "The daemon's URL, or unix:/PATH of its socket [TRISTILL_SERVER]; default "
                 "http://127.0.0.1:8080")
      ->type_name("URL");
  app.add_option("--api-key", plan.flags.api_key,
                 "API key [TRISTILL_API_KEY]; flags can be seen by other users")
      ->type_name("KEY");
  app.add_option("--api-key-file", plan.flags.api_key_file,
                 "File whose first line is the API key [TRISTILL_API_KEY_FILE]")
      ->type_name("PATH");
  app.add_option("--ca-file", plan.flags.ca_file,
                 "Certificates (PEM) that https trusts, not the system's [TRISTILL_CA_FILE]")
      ->type_name("PATH");
  app.add_option("--profile", plan.flags.profile,
                 "Settings of this name in the configuration file [TRISTILL_PROFILE]")
      ->type_name("NAME");
  app.add_flag("--json", plan.json, "Print JSON: one object, or JSON lines where output is live");
  app.require_subcommand(1);
  app.fallthrough();
  add_complete_command(app, plan);
  add_chat_command(app, plan);
  add_infill_command(app, plan);
  add_score_command(app, plan);
  add_token_commands(app, plan);
  add_models_commands(app, plan);
  add_jobs_commands(app, plan);
  add_traces_commands(app, plan);
  add_keys_commands(app, plan);
  add_daemon_commands(app, plan);
  add_top_command(app, plan);
  add_config_command(app, plan);
  add_completion_command(app);
  app.footer(kFooter);  // last: commands that are added later would repeat it
}

CLI::Validator within(double low, double high) {
  return CLI::Range(low, high).description("");  // else the help repeats it
}

void add_model_flag(CLI::App& command, Plan& plan) {
  command
      .add_option("--model", plan.flags.model,
                  "Model [TRISTILL_MODEL_NAME]; default: the one that is served")
      ->type_name("NAME");
}

void write_model(const Session& session, Json& request) {
  const std::string& model = session.settings.model.value;
  require_utf8(model, "model");
  if (!model.empty()) request["model"] = model;
}

int run_client(int argc, const char* const* argv) {
  curl_global_init(CURL_GLOBAL_DEFAULT);
  catch_interrupts();
  CLI::App app("", "tristill");
  Plan plan;
  build_app(app, plan);
  if (argc >= 2 && std::strcmp(argv[1], "__complete") == 0) {
    const std::vector<std::string> words(argv + 2, argv + argc);
    for (const auto& candidate : complete_words(app, words, process_environment)) {
      std::printf("%s\n", candidate.c_str());
    }
    return kExitOk;
  }
  return run_parsed(app, plan, argc, argv);
}

void require_utf8(const std::string& text, const char* name) {
  if (utf8_is_valid(text)) return;
  throw Failure(kExitData, std::string("the ") + name + " is not UTF-8 text", name);
}

std::string read_text(const std::string& argument, const std::string& file, const char* name) {
  if (!argument.empty() && !file.empty()) {
    throw Failure(kExitUsage, std::string("give the ") + name + " or --file, not both", name);
  }
  std::string text = argument;
  if (!file.empty()) {
    text = read_input(file, "file");
  } else if (argument.empty() || argument == "-") {
    if (argument.empty() && isatty(STDIN_FILENO) == 1) {
      throw Failure(kExitUsage,
                    std::string("no ") + name +
                        ": give it as an argument, with --file PATH, or on standard input",
                    name);
    }
    text = read_input("-", name);
  }
  require_utf8(text, name);
  return text;
}

std::string read_input(const std::string& path, const std::string& flag) {
  struct Close {
    void operator()(std::FILE* file) const {
      if (file != stdin) std::fclose(file);
    }
  };
  const std::unique_ptr<std::FILE, Close> file(path == "-" ? stdin : fopen(path.c_str(), "rbe"));
  if (file == nullptr) {
    const ExitCode code = errno == ENOENT ? kExitNotFound : kExitPermission;
    throw Failure(code, "cannot open \"" + path + "\": " + std::strerror(errno), flag);
  }
  std::string bytes;
  char piece[65536];
  while (const size_t n = std::fread(piece, 1, sizeof piece, file.get())) {
    bytes.append(piece, n);
    if (bytes.size() > kMaxInputBytes) {
      throw Failure(kExitResource, "\"" + path + "\" is larger than 1 GiB", flag);
    }
  }
  if (interrupted()) die_of_interrupt();
  if (std::ferror(file.get()) != 0) {
    throw Failure(kExitNotFound, "cannot read \"" + path + "\": " + std::strerror(errno), flag);
  }
  return bytes;
}

}  // namespace tristill::client
