// WaitingQueue: sequences that wait for a place, in the order in which they may have it: higher
// priorities first; within one, keys take turns by the work they were given (start-time fair
// queueing, Goyal et al. 1996), so that one key with a hundred requests does not hold up another
// with one; within a key, first come, first served. The engine's thread alone.
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "model/engine/sequence.h"

namespace tristill::engine {

class WaitingQueue {
 public:
  void push(std::unique_ptr<Sequence> sequence);
  // Back from the batch: before all others of its priority and key. Costs its key nothing again.
  void push_front(std::unique_ptr<Sequence> sequence);

  size_t size() const { return n_; }
  bool empty() const { return n_ == 0; }

  // The first n in order; they stay.
  std::vector<Sequence*> first(size_t n) const;
  // All of them, those of higher priorities first, otherwise in no order.
  void for_each(const std::function<void(const Sequence&)>& visit) const;
  // Takes one out that first() gave; its key pays for its tokens.
  std::unique_ptr<Sequence> take(const Sequence& sequence);
  // Takes out and destroys those that drop answers true for.
  void erase_if(const std::function<bool(Sequence&)>& drop);

 private:
  struct Line {
    std::deque<std::unique_ptr<Sequence>> waiting;
    double paid = 0;  // tokens of work that were given to the key
  };
  using Lines = std::map<std::string, Line>;  // by key

  Line& line_of(const Sequence& sequence);

  std::map<int32_t, Lines, std::greater<>> lines_;  // by priority
  size_t n_ = 0;
};

}  // namespace tristill::engine
