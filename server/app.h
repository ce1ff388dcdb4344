// App: the daemon put together. The only file that knows all parts.
#pragma once

#include <memory>

#include "base/result.h"
#include "server/settings.h"

namespace tristill::server {

class App {
 public:
  // Locks the data folder, opens stores, loads models, binds the port, starts jobs. Errors end the
  // program: corrupt or not_found for a --model, unavailable for a busy port or a folder in use.
  static Result<std::unique_ptr<App>> start(const Settings& settings);
  ~App();
  App(const App&) = delete;
  App& operator=(const App&) = delete;

  // The port that is listened on, also when settings asked for any.
  int port() const;
  // Serves until stop() was called and everything has ended.
  void run();
  // Refuses new completions, waits drain_seconds for those that run, cuts the rest short, asks the
  // worker for a checkpoint, then ends. Any thread, once; also before run().
  void stop();

 private:
  struct Parts;
  explicit App(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace tristill::server
