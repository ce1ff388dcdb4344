// Disconnects: tells at once when a client closes its socket while its request is being answered.
// One thread of its own, which sleeps until then. Any thread may watch.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <thread>

namespace tristill::http {

class Disconnects {
 public:
  Disconnects();
  ~Disconnects();  // nothing is watched any more
  Disconnects(const Disconnects&) = delete;
  Disconnects& operator=(const Disconnects&) = delete;

  // Calls on_close once, on the watching thread, when the other side of the socket has closed; not
  // any more once the returned object is gone. on_close must not block. The socket outlives the
  // object and is watched by nobody else.
  [[nodiscard]] std::shared_ptr<void> watch(int socket, std::function<void()> on_close);

 private:
  void run();
  void forget(uint64_t id);

  const int epoll_;
  const int stop_;  // an eventfd

  struct Watched {
    int socket;
    std::function<void()> on_close;
  };
  std::mutex mutex_;  // guards what follows, and is held while on_close runs
  std::map<uint64_t, Watched> watched_;
  uint64_t last_id_ = 0;

  std::thread thread_;  // last: uses what is above
};

}  // namespace tristill::http
