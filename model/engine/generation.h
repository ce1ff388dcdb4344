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
    {
      const std::lock_guard lock(mutex);
      events.push_back(std::move(event));
    }
    arrived.notify_one();
    if (request.on_event) request.on_event();
  }

  const GenerationRequest request;
  std::atomic<bool> cancelled{false};  // the reader left

  std::mutex mutex;  // guards events and finished
  std::condition_variable arrived;
  std::deque<TokenEvent> events;
  bool finished = false;  // the finish event has been read
};

}  // namespace tristill::engine
