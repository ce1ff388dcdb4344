// tristilld: settings -> app -> run until a signal asks to stop.
#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <thread>

#include "base/exit_code.h"
#include "base/log.h"
#include "server/app.h"
#include "server/settings.h"

namespace {

using tristill::server::App;
using tristill::server::Settings;

sigset_t stop_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  return signals;
}

// The first signal drains, the second leaves at once: what was acknowledged is already on disk.
void wait_for_signals(App& app) {
  const sigset_t signals = stop_signals();
  int signal = 0;
  sigwait(&signals, &signal);
  std::thread([signals] {
    int again = 0;
    sigwait(&signals, &again);
    _exit(128 + again);
  }).detach();
  app.stop();
}

tristill::LogLevel level_of(const std::string& name) {
  if (name == "debug") return tristill::LogLevel::debug;
  if (name == "warn") return tristill::LogLevel::warn;
  if (name == "error") return tristill::LogLevel::error;
  return tristill::LogLevel::info;
}

int fail(const tristill::Error& error) {
  tristill::log_error("cannot start", {{"reason", error.message}});
  return tristill::exit_code(error.code);
}

// Every client is a file descriptor; the usual soft limit of 1024 is below what we can serve.
void raise_file_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, 65536);
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

int serve(const Settings& settings) {
  tristill::set_log_level(level_of(settings.log_level));
  raise_file_limit();
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
  const sigset_t signals = stop_signals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);  // inherited by every thread
  auto app = App::start(settings);
  if (!app) return fail(app.error());
  std::thread waiter([&app] { wait_for_signals(**app); });
  (*app)->run();
  waiter.join();
  return tristill::kExitOk;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const auto settings = tristill::server::read_settings(argc, argv);
    if (!settings) return fail(settings.error());
    switch (settings->action) {
      case Settings::Action::help:
        std::fputs(tristill::server::help_text().c_str(), stdout);
        return 0;
      case Settings::Action::version: std::puts("tristilld " TRISTILL_VERSION); return 0;
      case Settings::Action::print_config:
        std::fputs(tristill::server::describe(*settings).c_str(), stdout);
        return 0;
      case Settings::Action::serve: return serve(*settings);
    }
  } catch (const std::exception& failure) {
    tristill::log_error("stopped by a defect", {{"reason", failure.what()}});
  }
  return tristill::kExitDefect;
}
