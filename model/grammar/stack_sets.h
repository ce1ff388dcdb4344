// StackSets: sets of stacks of a grammar's automaton, each kept once under an id. A set is a list
// of frames: a state, and the set of all stacks that may lie below it. So however many ways there
// are to read a text, a set has at most one frame a state. One thread.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "model/grammar/grammar.h"

namespace tristill {

class StackSets {
 public:
  using Id = uint32_t;
  using StateId = Grammar::StateId;
  // Of a stack that holds nothing more: the text is complete.
  static constexpr StateId kBottom = UINT32_MAX - 1;
  // Of a stack of which no more is known: what lies there must say how to go on.
  static constexpr StateId kUnknown = UINT32_MAX - 2;
  static constexpr uint32_t kMaxDepth = 2048;

  struct Frame {
    StateId state = kBottom;  // where to go on
    Id below = 0;
    bool operator==(const Frame&) const = default;
  };

  StackSets();
  StackSets(const StackSets&) = delete;  // known_ looks into it
  StackSets& operator=(const StackSets&) = delete;

  static constexpr Id kNone = 0;  // no stack at all
  Id bottom() const { return bottom_; }
  Id unknown() const { return unknown_; }

  // Sorted by state.
  std::span<const Frame> frames(Id set) const {
    return std::span(frames_).subspan(first_[set], first_[set + 1] - first_[set]);
  }
  // `top` on every stack of `below`. Throws std::runtime_error beyond kMaxDepth.
  Id push(StateId top, Id below);
  // The frames, in any order; of equal states the stacks below are united. Empties the list.
  Id set_of(std::vector<Frame>& frames);
  Id unite(Id a, Id b);
  // The same set, that others has under id.
  Id copy(const StackSets& others, Id id);

  size_t size() const { return first_.size() - 1; }
  size_t bytes() const;
  uint64_t work() const { return work_; }  // frames looked at so far

 private:
  Id intern(std::span<const Frame> sorted);

  struct Hash {
    const StackSets* sets;
    size_t operator()(Id set) const;
  };
  struct Equal {
    const StackSets* sets;
    bool operator()(Id a, Id b) const;
  };

  std::vector<Frame> frames_;
  std::vector<uint32_t> first_ = {0};  // of each set, and one more
  std::vector<uint32_t> depth_;        // of the deepest stack
  std::unordered_set<Id, Hash, Equal> known_;
  std::unordered_map<uint64_t, Id> united_;  // by both ids
  uint64_t work_ = 0;
  Id bottom_ = 0, unknown_ = 0;
};

}  // namespace tristill
