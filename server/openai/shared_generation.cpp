#include "server/openai/shared_generation.h"

#include <algorithm>

namespace tristill::openai {

std::optional<engine::TokenEvent> SharedGeneration::next(size_t& n_read) {
  const std::lock_guard lock(mutex_);
  while (auto event = generation_.next(std::chrono::milliseconds(0))) {
    events_.push_back(std::move(*event));
  }
  if (n_read == events_.size()) return std::nullopt;
  return events_[n_read++];
}

bool SharedGeneration::has_ended() const {
  const std::lock_guard lock(mutex_);
  return !events_.empty() && events_.back().kind == engine::TokenEvent::Kind::finish;
}

Result<std::shared_ptr<Flight>> Flights::join(const std::string& key, const Start& start) {
  const std::lock_guard lock(mutex_);
  std::erase_if(flights_, [](const auto& entry) { return entry.second.expired(); });
  if (const auto found = flights_.find(key); found != flights_.end()) {
    // One that has landed may still be held for an instant, by the engine that rings.
    auto flight = found->second.lock();
    const auto has_ended = [](const auto& generation) { return generation->has_ended(); };
    if (flight && !std::ranges::all_of(flight->generations, has_ended)) return flight;
  }
  auto flight = std::make_shared<Flight>();
  // The engine may still ring when the last reader has let go.
  auto generations = start([weak = std::weak_ptr<Flight>(flight)] {
    if (const auto live = weak.lock()) live->bell.ring();
  });
  if (!generations) return generations.error();
  for (engine::Generation& generation : *generations) {
    flight->generations.push_back(std::make_unique<SharedGeneration>(std::move(generation)));
  }
  if (!key.empty()) flights_[key] = flight;
  return flight;
}

}  // namespace tristill::openai
