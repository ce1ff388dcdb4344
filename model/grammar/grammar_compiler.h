// GrammarCompiler: expressions -> automaton, once; for GrammarBuilder::build alone. One thread.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "model/grammar/grammar_builder.h"

namespace tristill {

class GrammarCompiler {
 public:
  explicit GrammarCompiler(const GrammarBuilder& source) : source_(source) {}
  Result<std::shared_ptr<const Grammar>> compile(GrammarBuilder::RuleId root);

 private:
  using StateId = Grammar::StateId;
  using RuleId = Grammar::RuleId;
  using Expression = GrammarBuilder::Expression;
  enum class Kind : uint8_t { byte, call, skip };
  struct Edge {
    StateId from = 0, to = Grammar::kEnd;
    Kind kind = Kind::skip;
    uint8_t low = 0, high = 0;  // bytes
    RuleId rule = 0;  // called
  };
  struct State {
    bool accepts = false;
    bool reads = false;  // has an edge of bytes or a call
    uint32_t n_skips = 0;
    StateId skip = 0;  // one of them
    StateId alike = 0;
    uint32_t alike_bytes = 0;
    std::optional<RuleId> repeated;  // alike counts only while this rule reads something
  };
  enum class Reach { end, end_without_reading };

  StateId new_state();
  void add(const Edge& edge);
  StateId start_of(RuleId rule);
  void write(uint32_t expression, StateId from, StateId to);
  void write_texts(const std::vector<std::string>& texts, StateId from, StateId to);
  void write_utf8(const std::vector<Utf8Ranges>& ranges, StateId from, StateId to);
  void write_repeat(const Expression& repeat, StateId from, StateId to);
  void shorten();
  StateId resolved(StateId state) const;
  void sort_edges();
  std::vector<bool> reaching(Reach what) const;
  void prune(const std::vector<bool>& useful);
  std::optional<RuleId> left_recursion(const std::vector<bool>& nullable) const;
  std::vector<RuleId> first_calls(RuleId rule, const std::vector<bool>& nullable,
                                  std::vector<bool>& seen) const;
  void number_classes(Grammar& grammar) const;
  std::shared_ptr<const Grammar> assemble(RuleId root, const std::vector<bool>& nullable) const;
  std::vector<StateId> reachable(RuleId root) const;

  const GrammarBuilder& source_;
  std::vector<State> states_;
  std::vector<Edge> edges_;  // sorted by from once all are there
  std::vector<uint32_t> first_edge_;  // of each state, and one more
  std::map<RuleId, StateId> starts_;
  std::vector<RuleId> unwritten_;
  std::optional<Error> error_;
};

}  // namespace tristill
