// GenerationState: what the engine's thread and the reader of one generation share.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <utility>

#include "model/engine/engine.h"

namespace tristill::engine {

struct GenerationState {
  explicit GenerationState(GenerationRequest wanted) : request(std::move(wanted)) {}

  void push(TokenEvent event) {
    const bool is_end = event.kind == TokenEvent::Kind::finish;
    {
      const std::lock_guard lock(mutex);
      events.push_back(std::move(event));
    }
    arrived.notify_one();
    if (request.on_event && (is_end || !request.tells_end_only)) request.on_event();
  }

  const GenerationRequest request;
  std::atomic<bool> cancelled{false};  // the reader left
  std::atomic<bool> admitted{false};   // it has had a place

  std::mutex mutex;  // guards events and finished
  std::condition_variable arrived;
  std::deque<TokenEvent> events;
  bool finished = false;  // the finish event has been read
};

}  // namespace tristill::engine
