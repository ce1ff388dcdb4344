// GrammarAutomaton: from one set of stacks to the next, a byte at a time, each step found once and
// remembered: a deterministic automaton, built as far as it is used. One thread; for GrammarState.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "model/grammar/grammar.h"
#include "model/grammar/stack_sets.h"

namespace tristill {

class GrammarAutomaton {
 public:
  using Id = StackSets::Id;
  using Frame = StackSets::Frame;

  explicit GrammarAutomaton(const Grammar& grammar) : grammar_(grammar) {}

  // What can be said of a set without reading on.
  struct View {
    std::vector<Frame> open;  // states with edges on bytes
    bool ends = false;        // the text may be complete
    bool escapes = false;     // it is up to the unknown stack to go on
  };
  const View& view(Id set);
  // The set after one more byte; kNone when the byte cannot follow.
  Id step(Id set, uint8_t byte) {
    const uint8_t byte_class = grammar_.class_of(byte);
    if (set < rows_.size() && rows_[set] != kNoRow) {
      const Id known = next_[rows_[set] + byte_class];
      if (known != kUnfound) return known;
    }
    return find_step(set, byte_class);
  }

  StackSets& sets() { return sets_; }
  const StackSets& sets() const { return sets_; }
  size_t bytes() const;
  // Elementary steps so far: a measure of time that is the same on every machine.
  uint64_t work() const { return work_ + sets_.work(); }

 private:
  static constexpr uint32_t kNoRow = UINT32_MAX;
  static constexpr Id kUnfound = UINT32_MAX;

  Id find_step(Id set, uint8_t byte_class);
  void reach(Frame frame, View& view);
  void leave(Id stacks, View& view);
  void spread(Frame frame, View& view);

  const Grammar& grammar_;
  StackSets sets_;
  std::vector<uint32_t> rows_;  // of each set, in next_
  std::vector<Id> next_;        // [row, class]
  std::vector<std::unique_ptr<View>> views_;
  size_t view_bytes_ = 0;
  uint64_t work_ = 0;

  // Of the view that is being made.
  std::vector<Frame> reached_;
  std::vector<size_t> unspread_;   // in reached_
  std::vector<uint32_t> place_;    // of each state, in reached_
  std::vector<Frame> next_frames_;
};

}  // namespace tristill
