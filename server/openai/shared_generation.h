// SharedGeneration: one generation with any number of readers, each of whom sees all its events.
// When the last one lets go it is cancelled. Flights: the requests in flight that others may share.
// Any thread.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/bell.h"
#include "model/engine/engine.h"

namespace tristill::openai {

class SharedGeneration {
 public:
  explicit SharedGeneration(engine::Generation generation) : generation_(std::move(generation)) {}

  // The event after those that were read before, if it is there; counts it in n_read.
  std::optional<engine::TokenEvent> next(size_t& n_read);
  bool was_admitted() const { return generation_.was_admitted(); }
  bool has_ended() const;  // and a reader knows it

 private:
  mutable std::mutex mutex_;  // guards what follows
  engine::Generation generation_;
  std::vector<engine::TokenEvent> events_;
};

// All generations of one request, and the bell that rings when one of them has news.
struct Flight {
  Bell bell;
  std::vector<std::unique_ptr<SharedGeneration>> generations;
};

class Flights {
 public:
  // Submits the requests; each rings, which never blocks, when it has news.
  using Start =
      std::function<Result<std::vector<engine::Generation>>(const std::function<void()>& ring)>;

  // The flight of that key when one is in the air (some of it has not ended), else the one that
  // start begins. An empty key is shared with nobody. Errors: start's.
  Result<std::shared_ptr<Flight>> join(const std::string& key, const Start& start);

 private:
  std::mutex mutex_;  // guards flights_
  std::map<std::string, std::weak_ptr<Flight>> flights_;
};

}  // namespace tristill::openai
