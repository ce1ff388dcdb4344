// App: the daemon put together. The only file that knows all parts.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "server/http/router.h"
#include "server/settings.h"

namespace tristill::server {

// How long stop() waits for the worker's checkpoint. A slower worker goes on alone, and the next
// start finds it; but systemd ends it with the daemon, so there it has most of TimeoutStopSec.
inline constexpr std::chrono::milliseconds kWorkerPatience{10000};
inline constexpr std::chrono::milliseconds kServicePatience{90000};

class App {
 public:
  // Locks the data folder, opens stores, loads models, binds the port, starts jobs. Errors end the
  // program: corrupt or not_found for a --model, unavailable for a busy port or a folder in use.
  static Result<std::unique_ptr<App>> start(
      const Settings& settings, std::chrono::milliseconds worker_patience = kWorkerPatience);
  ~App();
  App(const App&) = delete;
  App& operator=(const App&) = delete;

  // The port that is listened on, also when settings asked for any.
  int port() const;
  // "http://127.0.0.1:8080", "https://..." or "unix:PATH".
  std::string url() const;
  // Every route that is answered, with its method.
  std::vector<http::Router::Name> routes() const;
  // Serves until stop() was called and everything has ended.
  void run();
  // Brings up to date what can change while it runs: models, their aliases, and what the parts'
  // reload hooks know. What cannot be taken over is logged and stays as it was. Any thread, one at
  // a time; also while stop() runs.
  void reload(const Settings& fresh);
  // Whether the engines move (ops/engine_watch.h). Any thread; to be asked every few seconds.
  bool is_alive();
  // Goes on serving for drain_delay_seconds while /readyz says 503, refuses new completions, waits
  // drain_seconds for those that run, cuts the rest short, asks the worker for a checkpoint, waits
  // worker_patience for it, then ends. Any thread, once; also before run().
  void stop();
  std::chrono::milliseconds stop_patience() const;  // that stop() may take

 private:
  struct Parts;
  explicit App(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace tristill::server
