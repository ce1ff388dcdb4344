// Lineage: the engines that have served one model's name, one after the other, so that its totals
// go on growing when the model is replaced. Any thread.
#pragma once

#include <mutex>
#include <vector>

#include "model/engine/engine.h"

namespace tristill::models {

class Lineage {
 public:
  void join(const engine::Engine& engine);
  // What the engine has counted stays counted. Before the engine is destroyed.
  void leave(const engine::Engine& engine);

  // Counts are those of all engines; what runs, waits or fills a cache now is of those that live,
  // replaced ones that finish their last requests included.
  engine::EngineStats totals() const;
  bool idle() const;  // every living one

 private:
  mutable std::mutex mutex_;  // guards both
  engine::EngineStats past_;
  std::vector<const engine::Engine*> living_;
};

}  // namespace tristill::models
