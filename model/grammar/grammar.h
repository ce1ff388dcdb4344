// Grammar: which texts may be written, as a context-free grammar over bytes. Immutable: any thread.
// It is an automaton a rule: states with edges on bytes and calls of other rules. What may follow a
// text is GrammarState's to say; JSON Schema and its like are written with GrammarBuilder.
//
// Every state can still reach the end of its rule, and no rule calls itself before a byte was read:
// so whatever was accepted can be completed, and what may follow is found in bounded time.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace tristill {

class Grammar {
 public:
  using StateId = uint32_t;
  using RuleId = uint32_t;
  // In place of a state: the end of the rule, where nothing else can come.
  static constexpr StateId kEnd = UINT32_MAX;

  struct ByteEdge {
    uint8_t low = 0, high = 0;  // classes of bytes
    StateId to = kEnd;
  };
  struct Call {
    StateId start = 0;  // of the rule that is called
    StateId back = kEnd;  // where it goes on after the rule's end
  };
  struct State {
    uint32_t first_byte = 0, first_call = 0, first_skip = 0;  // their ends are the next state's
    bool accepts = false;  // the rule may end here
    // A state from which fewer than alike_bytes bytes lead on, or to the rule's end, just as from
    // this one: of copies that are repeated, the first. Itself where there is none.
    StateId alike = 0;
    uint32_t alike_bytes = 0;
  };

  StateId start() const { return start_; }
  size_t n_states() const { return states_.size() - 1; }
  const State& state(StateId id) const { return states_[id]; }
  std::span<const ByteEdge> bytes(StateId id) const {
    return slice(bytes_, states_[id].first_byte, states_[id + 1].first_byte);
  }
  std::span<const Call> calls(StateId id) const {
    return slice(calls_, states_[id].first_call, states_[id + 1].first_call);
  }
  // States that are reached without reading anything.
  std::span<const StateId> skips(StateId id) const {
    return slice(skips_, states_[id].first_skip, states_[id + 1].first_skip);
  }
  // No edge tells the bytes of one class apart.
  size_t n_classes() const { return n_classes_; }
  uint8_t class_of(uint8_t byte) const { return classes_[byte]; }

 private:
  friend class GrammarCompiler;
  Grammar() = default;

  template <class T>
  static std::span<const T> slice(const std::vector<T>& all, uint32_t first, uint32_t end) {
    return std::span(all).subspan(first, end - first);
  }

  StateId start_ = 0;
  std::vector<State> states_;  // one more than there are
  std::vector<ByteEdge> bytes_;
  std::vector<Call> calls_;
  std::vector<StateId> skips_;
  std::array<uint8_t, 256> classes_ = {};
  size_t n_classes_ = 0;
};

}  // namespace tristill
