// The command line: what each command group adds to it, and running what was asked. Used by
// main.cpp and the tests; one thread.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <vector>

#include "client/api.h"
#include "client/output.h"

namespace tristill::client {

// What a running command has.
struct Session {
  Api& api;
  Output& out;
};

// What the command line said: the flags of all commands, and the command.
struct Plan {
  ApiOptions api;
  bool json = false;
  std::function<ExitCode(Session&)> action;  // set while parsing
};

// Each adds its commands; the parsed options live as long as the app.
void add_complete_command(CLI::App& app, Plan& plan);
void add_jobs_commands(CLI::App& app, Plan& plan);
void add_models_commands(CLI::App& app, Plan& plan);  // models, health
void add_traces_commands(CLI::App& app, Plan& plan);
void add_completion_command(CLI::App& app);

// The whole command line of the program.
void build_app(CLI::App& app, Plan& plan);

// Parses, runs, prints errors; the process's exit status.
int run_client(int argc, const char* const* argv);

// Follows a job to its end (watch.cpp); the exit code tells the outcome.
ExitCode watch_job(Session& session, const std::string& id, double patience_seconds);

// A file's bytes, or standard input's for "-". Failure names the flag at fault.
std::string read_input(const std::string& path, const std::string& flag);

// Candidates for the last of words (completion.cpp), one a line; "@files" asks the shell for
// file names. Never fails: an unreachable daemon gives no names.
std::vector<std::string> complete_words(const CLI::App& app, const std::vector<std::string>& words,
                                        ApiOptions options);

}  // namespace tristill::client
