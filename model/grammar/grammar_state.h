// GrammarState: one text that is being written under a grammar: which bytes and tokens may come
// next, and whether it may end. One thread. What it says, and what it costs, are functions of the
// grammar, the vocabulary and the text so far.
//
// A grammar is a client's: following it is bounded, in steps (a burst, and some for each token), in
// memory and in depth. Beyond that accept(), allows() and mask() throw std::runtime_error with the
// reason; the text ends there.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "model/grammar/grammar.h"
#include "model/grammar/grammar_automaton.h"
#include "model/grammar/token_trie.h"

namespace tristill {

class GrammarState {
 public:
  // ends: tokens that end the text in place of being part of it (eos, stop tokens).
  GrammarState(std::shared_ptr<const Grammar> grammar, std::shared_ptr<const TokenTrie> trie,
               std::vector<TokenId> ends);

  // Sets the logits of all tokens that cannot come next to -infinity: a token may come when its
  // bytes can, and those of `ends` exactly when the text may end. Whether any is left.
  // logits  [V], V at least the vocabulary's; what is beyond it cannot come
  bool mask(std::span<float> logits);
  bool allows(TokenId token);
  // The text goes on with it. False, and nothing changed, when it cannot.
  bool accept(TokenId token);
  bool accept(std::string_view bytes);

  bool may_end();
  // It may end, and nothing else may come.
  bool must_end();
  // Elementary steps taken so far: a measure of time that is the same on every machine.
  uint64_t work() const { return past_work_ + automaton_->work(); }

 private:
  using Id = GrammarAutomaton::Id;
  // What is known of a state whatever lies below it.
  struct Local {
    std::vector<uint64_t> allowed;  // bits of tokens that end within its rule, or with it
    // Trie nodes behind which its rule may have ended: the rest is up to the stacks below.
    std::vector<uint32_t> escapes;
    bool escapes_at_once = false;  // without any byte
  };

  bool ends_with(TokenId token) const;
  Id follow(std::string_view bytes);
  const Local& local_of(Grammar::StateId state);
  std::unique_ptr<Local> find_local(Grammar::StateId state);
  void collect(Id set);
  void walk(uint32_t first, uint32_t end, Id from, std::vector<uint64_t>& allowed, Local* local,
            size_t least_depth = 0);
  void forbid(uint32_t node, size_t least_depth, std::vector<uint64_t>& allowed) const;
  void check_limits() const;
  void forget_old();

  uint64_t first_work() const { return kFirstWork + 8ULL * trie_->n_nodes(); }

  // About ten times what a schema of many alternatives needs: bursts of 0.2 s, then 5 ms a token.
  static constexpr uint64_t kFirstWork = 1 << 21;  // of one burst
  static constexpr uint64_t kTokenWork = 1 << 15;  // regained by a token
  static constexpr size_t kManyStates = 64;
  static constexpr size_t kKeptBytes = 8 << 20;  // of memory; beyond, it starts afresh
  static constexpr size_t kMaxBytes = 32 << 20;

  std::shared_ptr<const Grammar> grammar_;
  std::shared_ptr<const TokenTrie> trie_;
  std::vector<TokenId> ends_;
  std::unique_ptr<GrammarAutomaton> automaton_;
  Id at_ = 0;
  std::vector<std::unique_ptr<Local>> locals_;  // by state
  size_t local_bytes_ = 0;
  uint64_t past_work_ = 0;  // of automatons that were given up, and of walks
  uint64_t work_limit_ = 0;
  std::vector<uint64_t> allowed_;
  std::vector<Id> path_;  // sets along the trie, by depth
};

}  // namespace tristill
