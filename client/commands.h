// The command line: what each command group adds to it, and running what was asked. Used by
// main.cpp and the tests; one thread.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <vector>

#include "client/api.h"
#include "client/output.h"
#include "client/settings.h"

namespace tristill::client {

// What a running command has.
struct Session {
  Api& api;
  Output& out;
  const Settings& settings;
};

// What the command line said: the flags of all commands, and the command.
struct Plan {
  Flags flags;
  bool json = false;
  std::function<ExitCode(Session&)> action;  // set while parsing
};

// Each adds its commands; the parsed options live as long as the app.
void add_complete_command(CLI::App& app, Plan& plan);
void add_chat_command(CLI::App& app, Plan& plan);
void add_infill_command(CLI::App& app, Plan& plan);
void add_score_command(CLI::App& app, Plan& plan);
void add_token_commands(CLI::App& app, Plan& plan);  // tokenize, detokenize
void add_models_commands(CLI::App& app, Plan& plan);
void add_jobs_commands(CLI::App& app, Plan& plan);
void add_traces_commands(CLI::App& app, Plan& plan);
void add_keys_commands(CLI::App& app, Plan& plan);
void add_daemon_commands(CLI::App& app, Plan& plan);  // health, requests
void add_top_command(CLI::App& app, Plan& plan);
void add_config_command(CLI::App& app, Plan& plan);
void add_completion_command(CLI::App& app);

// Of a flag's value; the flag's description says so.
CLI::Validator within(double low, double high);

// --model of the commands that ask a model.
void add_model_flag(CLI::App& command, Plan& plan);
// Names the model in a request, when flags, environment or profile name one.
void write_model(const Session& session, Json& request);

// The whole command line of the program.
void build_app(CLI::App& app, Plan& plan);

// Parses, runs, prints errors; the process's exit status.
int run_client(int argc, const char* const* argv);

// Follows a job to its end (watch.cpp); the exit code tells the outcome.
ExitCode watch_job(Session& session, const std::string& id, double patience_seconds);

// A file's bytes, or standard input's for "-". Failure names the flag at fault.
std::string read_input(const std::string& path, const std::string& flag);

// A text given as argument, by --file or on standard input ("-" or nothing). Failure: more than
// one is given, or none and standard input is a terminal; not UTF-8.
std::string read_text(const std::string& argument, const std::string& file, const char* name);
// Failure(data) when text is not UTF-8, which JSON cannot carry.
void require_utf8(const std::string& text, const char* name);

// Candidates for the last of words (completion.cpp), one a line; "@files" asks the shell for
// file names. Never fails: an unreachable daemon gives no names.
std::vector<std::string> complete_words(const CLI::App& app, const std::vector<std::string>& words,
                                        const Environment& environment);

}  // namespace tristill::client
