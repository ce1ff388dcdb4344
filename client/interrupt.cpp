#include "client/interrupt.h"

#include <poll.h>
#include <unistd.h>

#include <atomic>
#include <csignal>

namespace tristill::client {
namespace {

std::atomic<bool> g_interrupted{false};
static_assert(std::atomic<bool>::is_always_lock_free);

void on_interrupt(int) { g_interrupted.store(true); }

}  // namespace

void catch_interrupts() {
  struct sigaction action = {};
  action.sa_handler = on_interrupt;
  action.sa_flags = static_cast<int>(SA_RESETHAND);  // no SA_RESTART: blocked calls return
  sigaction(SIGINT, &action, nullptr);
  signal(SIGPIPE, SIG_IGN);  // a closed pipe is seen as a failed write
}

bool interrupted() { return g_interrupted.load(); }

void forget_interrupt() {
  g_interrupted.store(false);
  catch_interrupts();
}

void pause_for(std::chrono::milliseconds wait) {
  if (!interrupted()) poll(nullptr, 0, static_cast<int>(wait.count()));
}

void die_of_interrupt() {
  signal(SIGINT, SIG_DFL);
  raise(SIGINT);
  _exit(128 + SIGINT);
}

}  // namespace tristill::client
