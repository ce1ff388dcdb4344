#include "server/http/disconnects.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/check.h"
#include "base/short_slice.h"

namespace tristill::http {

Disconnects::Disconnects()
    : epoll_(::epoll_create1(EPOLL_CLOEXEC)), stop_(::eventfd(0, EFD_CLOEXEC)) {
  CHECK(epoll_ >= 0 && stop_ >= 0);
  epoll_event event{.events = EPOLLIN, .data = {.u64 = 0}};
  CHECK(::epoll_ctl(epoll_, EPOLL_CTL_ADD, stop_, &event) == 0);
  thread_ = std::thread([this] { run(); });
}

Disconnects::~Disconnects() {
  const uint64_t one = 1;
  CHECK(::write(stop_, &one, sizeof one) == sizeof one);
  thread_.join();
  ::close(stop_);
  ::close(epoll_);
}

std::shared_ptr<void> Disconnects::watch(int socket, std::function<void()> on_close) {
  const std::lock_guard lock(mutex_);
  const uint64_t id = ++last_id_;
  epoll_event event{.events = EPOLLRDHUP | EPOLLONESHOT, .data = {.u64 = id}};
  if (::epoll_ctl(epoll_, EPOLL_CTL_ADD, socket, &event) != 0) return nullptr;
  watched_[id] = {socket, std::move(on_close)};
  return {this, [id](void* self) { static_cast<Disconnects*>(self)->forget(id); }};
}

void Disconnects::forget(uint64_t id) {
  const std::lock_guard lock(mutex_);
  const auto found = watched_.find(id);
  ::epoll_ctl(epoll_, EPOLL_CTL_DEL, found->second.socket, nullptr);
  watched_.erase(found);
}

void Disconnects::run() {
  take_short_slices();
  for (;;) {
    epoll_event event{};
    if (::epoll_wait(epoll_, &event, 1, -1) < 1) continue;
    if (event.data.u64 == 0) return;
    const std::lock_guard lock(mutex_);
    const auto found = watched_.find(event.data.u64);
    if (found != watched_.end()) found->second.on_close();
  }
}

}  // namespace tristill::http
