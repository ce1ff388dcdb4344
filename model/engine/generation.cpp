#include "model/engine/generation.h"

namespace tristill::engine {

Generation::Generation(std::shared_ptr<GenerationState> state) : state_(std::move(state)) {}

Generation::Generation(Generation&&) noexcept = default;

Generation& Generation::operator=(Generation&& other) noexcept {
  if (this != &other) {
    if (state_) state_->cancelled.store(true, std::memory_order_release);
    state_ = std::move(other.state_);
  }
  return *this;
}

Generation::~Generation() {
  if (state_) state_->cancelled.store(true, std::memory_order_release);
}

std::optional<TokenEvent> Generation::next(std::chrono::milliseconds wait) {
  std::unique_lock lock(state_->mutex);
  if (state_->finished) return std::nullopt;
  const auto has_event = [this] { return !state_->events.empty(); };
  // Even a wait of no time would put the thread to sleep for an instant.
  if (!has_event() && (wait.count() <= 0 || !state_->arrived.wait_for(lock, wait, has_event))) {
    return std::nullopt;
  }
  TokenEvent event = std::move(state_->events.front());
  state_->events.pop_front();
  state_->finished = event.kind == TokenEvent::Kind::finish;
  return event;
}

bool Generation::finished() const {
  const std::lock_guard lock(state_->mutex);
  return state_->finished;
}

bool Generation::was_admitted() const { return state_->admitted.load(std::memory_order_relaxed); }

}  // namespace tristill::engine
