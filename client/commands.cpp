#include "client/commands.h"

#include <curl/curl.h>

#include <cerrno>
#include <cstring>
#include <memory>

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
    const Json object = {{"error", error}};
    std::fprintf(stderr, "%s\n",
                 object.dump(-1, ' ', false, Json::error_handler_t::replace).c_str());
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

int run_plan(Plan& plan) {
  try {
    Api api(plan.api);
    Output out = Output::of_process(plan.json);
    Session session{.api = api, .out = out};
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
  app.add_option("--server", plan.api.server, "The daemon's URL")
      ->envname("TRISTILL_SERVER")
      ->type_name("URL")
      ->capture_default_str();
  app.add_option("--api-key", plan.api.api_key,
                 "API key; rather set TRISTILL_API_KEY, which other users cannot see")
      ->envname("TRISTILL_API_KEY")
      ->type_name("KEY");
  app.add_flag("--json", plan.json, "Print JSON: one object, or JSON lines where output is live");
  app.require_subcommand(1);
  app.fallthrough();
  add_complete_command(app, plan);
  add_jobs_commands(app, plan);
  add_models_commands(app, plan);
  add_traces_commands(app, plan);
  add_completion_command(app);
}

int run_client(int argc, const char* const* argv) {
  curl_global_init(CURL_GLOBAL_DEFAULT);
  catch_interrupts();
  CLI::App app("", "tristill");
  Plan plan;
  build_app(app, plan);
  if (argc >= 2 && std::strcmp(argv[1], "__complete") == 0) {
    const std::vector<std::string> words(argv + 2, argv + argc);
    for (const auto& candidate : complete_words(app, words, plan.api)) {
      std::printf("%s\n", candidate.c_str());
    }
    return kExitOk;
  }
  return run_parsed(app, plan, argc, argv);
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
