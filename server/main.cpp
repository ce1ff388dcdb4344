// tristilld: settings -> app -> run until a signal asks to stop; SIGHUP reloads.
#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <functional>
#include <initializer_list>
#include <string>
#include <thread>

#include "base/exit_code.h"
#include "base/log.h"
#include "server/app.h"
#include "server/service_notifier.h"
#include "server/settings.h"

namespace {

using tristill::server::App;
using tristill::server::Settings;

constexpr std::chrono::milliseconds kLookAfterEngines{5000};

sigset_t set_of(std::initializer_list<int> all) {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : all) sigaddset(&signals, signal);
  return signals;
}

const sigset_t kStopSignals = set_of({SIGTERM, SIGINT});
const sigset_t kSignals = set_of({SIGTERM, SIGINT, SIGHUP});

void set_up_log(const Settings& settings) {
  using tristill::LogLevel;
  const std::string& name = settings.log_level;
  tristill::set_log_level(name == "debug"   ? LogLevel::debug
                          : name == "warn"  ? LogLevel::warn
                          : name == "error" ? LogLevel::error
                                            : LogLevel::info);
  tristill::set_log_format(settings.log_format == "json" ? tristill::LogFormat::json
                                                         : tristill::LogFormat::human);
}

// The running daemon, told by signals what to do and telling systemd what it does. One thread, but
// for a reload, which may load models and has one of its own: a signal to stop does not wait.
class Service {
 public:
  Service(App& app, tristill::server::ServiceNotifier& notifier,
          std::function<tristill::Result<Settings>()> read_again)
      : app_(app), notifier_(notifier), read_again_(std::move(read_again)) {}
  ~Service() {
    if (reloading_.joinable()) reloading_.join();
  }
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;

  // Returns when the app has been told to stop and has done so. The first signal to stop drains,
  // the second leaves at once: what was acknowledged is already on disk.
  void follow_signals() {
    notifier_.ready();
    for (;;) {
      const int signal = next_signal();
      if (signal < 0) {
        if (app_.is_alive()) notifier_.alive();
      } else if (signal == SIGHUP) {
        start_reload();
      } else {
        break;
      }
    }
    std::thread([] {
      int again = 0;
      sigwait(&kStopSignals, &again);
      _exit(128 + again);
    }).detach();
    notifier_.stopping(app_.stop_patience());
    app_.stop();
  }

 private:
  // Below zero when it is time to look after the engines.
  int next_signal() const {
    auto wait = std::chrono::nanoseconds(kLookAfterEngines);
    if (const auto period = notifier_.watchdog()) {
      wait = std::min<std::chrono::nanoseconds>(wait, *period / 2);
    }
    const timespec patience{wait.count() / 1000000000, wait.count() % 1000000000};
    return sigtimedwait(&kSignals, nullptr, &patience);
  }

  // Signals that come during a reload ask for one more after it, however many they are.
  void start_reload() {
    if (n_asked_.fetch_add(1) > 0) return;
    if (reloading_.joinable()) reloading_.join();  // it has done its last
    reloading_ = std::thread([this] {
      for (int n_seen = n_asked_; n_seen > 0; n_seen = n_asked_.fetch_sub(n_seen) - n_seen)
        reload();
    });
  }

  void reload() {
    notifier_.reloading();
    if (const auto fresh = read_again_()) {
      set_up_log(*fresh);
      app_.reload(*fresh);
    } else {
      tristill::log_error("settings not reloaded", {{"reason", fresh.error().message}});
    }
    notifier_.ready();
  }

  App& app_;
  tristill::server::ServiceNotifier& notifier_;
  const std::function<tristill::Result<Settings>()> read_again_;
  std::atomic<int> n_asked_{0};  // reloads that have not been done yet
  std::thread reloading_;
};

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

int serve(const Settings& settings, std::function<tristill::Result<Settings>()> read_again) {
  set_up_log(settings);
  raise_file_limit();
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
  pthread_sigmask(SIG_BLOCK, &kSignals, nullptr);  // inherited by every thread
  auto notifier = tristill::server::ServiceNotifier::from_environment();
  auto app = App::start(settings, notifier.is_heard() ? tristill::server::kServicePatience
                                                      : tristill::server::kWorkerPatience);
  if (!app) return fail(app.error());
  Service service(**app, notifier, std::move(read_again));
  std::thread follower([&service] { service.follow_signals(); });
  (*app)->run();
  follower.join();
  return tristill::kExitOk;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const auto read = [=] { return tristill::server::read_settings(argc, argv); };
    const auto settings = read();
    if (!settings) return fail(settings.error());
    switch (settings->action) {
      case Settings::Action::help:
        std::fputs(tristill::server::help_text().c_str(), stdout);
        return 0;
      case Settings::Action::version: std::puts("tristilld " TRISTILL_VERSION); return 0;
      case Settings::Action::print_config:
        std::fputs(tristill::server::describe(*settings).c_str(), stdout);
        return 0;
      case Settings::Action::serve: return serve(*settings, read);
    }
  } catch (const std::exception& failure) {
    tristill::log_error("stopped by a defect", {{"reason", failure.what()}});
  }
  return tristill::kExitDefect;
}
