#include "model/grammar/grammar_compiler.h"

#include <algorithm>
#include <array>

#include "base/check.h"

namespace tristill {
namespace {

constexpr auto kEnd = Grammar::kEnd;

Error too_large(const std::string& what, size_t most) {
  return {ErrorCode::resource_exhausted,
          "the grammar has too many " + what + "; accepted are at most " + std::to_string(most),
          ""};
}

Error wrong(std::string message) { return {ErrorCode::invalid_argument, std::move(message), ""}; }

}  // namespace

Result<std::shared_ptr<const Grammar>> GrammarBuilder::build(RuleId root) {
  if (error_) return *error_;
  return GrammarCompiler(*this).compile(root);
}

Result<std::shared_ptr<const Grammar>> GrammarCompiler::compile(RuleId root) {
  start_of(root);
  while (!unwritten_.empty() && !error_) {
    const RuleId rule = unwritten_.back();
    unwritten_.pop_back();
    const auto& [name, body] = source_.rules_.at(rule);
    if (!body) return wrong("the rule " + name + " is used and not defined");
    write(*body, starts_.at(rule), kEnd);
  }
  if (error_) return *error_;
  shorten();
  sort_edges();
  const auto useful = reaching(Reach::end);
  if (!useful[starts_.at(root)]) return wrong("the grammar matches no text");
  prune(useful);
  const auto nullable = reaching(Reach::end_without_reading);
  if (const auto rule = left_recursion(nullable)) {
    return wrong("the rule " + source_.rules_[*rule].name +
                 " calls itself before it has read anything (left recursion)");
  }
  return assemble(root, nullable);
}

GrammarCompiler::StateId GrammarCompiler::new_state() {
  if (states_.size() >= GrammarBuilder::kMaxStates) {
    error_ = too_large("states", GrammarBuilder::kMaxStates);
    return 0;
  }
  states_.emplace_back();
  states_.back().alike = static_cast<StateId>(states_.size() - 1);
  return states_.back().alike;
}

void GrammarCompiler::add(const Edge& edge) {
  if (edges_.size() >= GrammarBuilder::kMaxEdges) {
    error_ = too_large("edges", GrammarBuilder::kMaxEdges);
  }
  if (error_) return;
  State& from = states_[edge.from];
  if (edge.kind != Kind::skip) {
    from.reads = true;
  } else if (edge.to == kEnd) {
    from.accepts = true;
    return;
  } else if (edge.to == edge.from) {
    return;
  } else {
    ++from.n_skips;
    from.skip = edge.to;
  }
  edges_.push_back(edge);
}

GrammarCompiler::StateId GrammarCompiler::start_of(RuleId rule) {
  const auto known = starts_.find(rule);
  if (known != starts_.end()) return known->second;
  unwritten_.push_back(rule);
  return starts_[rule] = new_state();
}

// Adds what leads from `from` to `to`: no edge into the one, none out of the other.
void GrammarCompiler::write(uint32_t index, StateId from, StateId to) {
  if (error_) return;
  const Expression& expression = source_.expressions_.at(index);
  switch (expression.kind) {
    case GrammarBuilder::Kind::texts: return write_texts(expression.texts, from, to);
    case GrammarBuilder::Kind::utf8: return write_utf8(expression.ranges, from, to);
    case GrammarBuilder::Kind::repeat: return write_repeat(expression, from, to);
    case GrammarBuilder::Kind::bytes:
      return add({.from = from,
                  .to = to,
                  .kind = Kind::byte,
                  .low = expression.low,
                  .high = expression.high});
    case GrammarBuilder::Kind::call:
      start_of(expression.rule);
      return add({.from = from, .to = to, .kind = Kind::call, .rule = expression.rule});
    case GrammarBuilder::Kind::choice:
      for (const uint32_t part : expression.parts) write(part, from, to);
      return;
    case GrammarBuilder::Kind::sequence:
      for (size_t i = 0; i + 1 < expression.parts.size(); ++i) {
        const StateId next = new_state();
        write(expression.parts[i], from, next);
        from = next;
      }
      if (expression.parts.empty()) add({.from = from, .to = to});
      else write(expression.parts.back(), from, to);
  }
}

// A trie: the texts are sorted, so what begins another stands right before it.
void GrammarCompiler::write_texts(const std::vector<std::string>& texts, StateId from, StateId to) {
  std::vector<StateId> path = {from};  // path[i] is behind i bytes of the text
  for (size_t t = 0; t < texts.size() && !error_; ++t) {
    const std::string& text = texts[t];
    size_t shared = 0;
    if (t > 0) {
      const auto differs = std::ranges::mismatch(texts[t - 1], text);
      shared = static_cast<size_t>(differs.in2 - text.begin());
    }
    const bool goes_on = t + 1 < texts.size() && texts[t + 1].starts_with(text);
    path.resize(shared + 1);
    for (size_t i = shared; i < text.size() && !error_; ++i) {
      const bool last = i + 1 == text.size() && !goes_on;
      const StateId next = last ? to : new_state();
      const auto byte = static_cast<uint8_t>(text[i]);
      add({.from = path.back(), .to = next, .kind = Kind::byte, .low = byte, .high = byte});
      path.push_back(next);
    }
    if (goes_on || text.empty()) add({.from = path.back(), .to = to});
  }
}

void GrammarCompiler::write_utf8(const std::vector<Utf8Ranges>& ranges, StateId from, StateId to) {
  for (const Utf8Ranges& one : ranges) {
    StateId at = from;
    for (size_t i = 0; i < one.size && !error_; ++i) {
      const StateId next = i + 1 == one.size ? to : new_state();
      const auto [low, high] = one.bytes[i];
      add({.from = at, .to = next, .kind = Kind::byte, .low = low, .high = high});
      at = next;
    }
  }
}

void GrammarCompiler::write_repeat(const Expression& repeat, StateId from, StateId to) {
  const uint32_t part = repeat.parts[0];
  const Expression& repeated = source_.expressions_.at(part);
  const uint32_t least = repeat.least;
  const uint32_t copies = repeat.most.value_or(least);
  std::vector<StateId> at;  // at[i] is behind i copies
  for (uint32_t i = 0; i < copies && !error_; ++i) {
    const StateId here = new_state();
    if (i == 0) add({.from = from, .to = here});
    else write(part, at.back(), here);
    at.push_back(here);
    if (i >= least) add({.from = here, .to = to});
    // Each copy reads a byte at least: so far off is the first state that differs.
    states_[here].alike = at[i < least ? 0 : least];
    states_[here].alike_bytes = (i < least ? least : copies) - i;
    if (repeated.kind == GrammarBuilder::Kind::call) states_[here].repeated = repeated.rule;
  }
  if (error_) return;
  const StateId last = at.empty() ? from : at.back();
  if (repeat.most) {
    if (at.empty()) add({.from = from, .to = to});
    else write(part, last, to);
    return;
  }
  const StateId loop = new_state();
  if (at.empty()) add({.from = from, .to = loop});
  else write(part, last, loop);
  write(part, loop, loop);
  add({.from = loop, .to = to});
}

// States that only lead on to one other are passed by.
void GrammarCompiler::shorten() {
  for (Edge& edge : edges_) edge.to = resolved(edge.to);
  std::vector<Edge> kept;
  kept.reserve(edges_.size());
  for (const Edge& edge : edges_) {
    if (edge.kind == Kind::skip && edge.to == kEnd) states_[edge.from].accepts = true;
    else if (edge.kind != Kind::skip || edge.to != edge.from) kept.push_back(edge);
  }
  edges_ = std::move(kept);
}

GrammarCompiler::StateId GrammarCompiler::resolved(StateId state) const {
  for (size_t steps = 0; state != kEnd && steps <= states_.size(); ++steps) {
    const State& s = states_[state];
    if (s.reads || s.n_skips > 1) return state;
    if (s.n_skips == 0) return s.accepts ? kEnd : state;
    if (s.accepts) return state;
    state = s.skip;
  }
  return state;
}

void GrammarCompiler::sort_edges() {
  std::ranges::stable_sort(edges_, {}, &Edge::from);
  first_edge_.assign(states_.size() + 1, 0);
  for (const Edge& edge : edges_) ++first_edge_[edge.from + 1];
  for (size_t i = 1; i < first_edge_.size(); ++i) first_edge_[i] += first_edge_[i - 1];
}

// Per state: whether the end of its rule can be reached from it at all, or without reading a byte.
std::vector<bool> GrammarCompiler::reaching(Reach what) const {
  std::vector<bool> reaches(states_.size(), false);
  std::vector<std::vector<uint32_t>> into(states_.size());  // edges by their end
  std::vector<std::vector<uint32_t>> callers(
      source_.rules_.size());  // calls that wait for the rule
  std::map<StateId, RuleId> rule_of;
  for (const auto& [rule, start] : starts_) rule_of[start] = rule;
  std::vector<StateId> found;
  const auto mark = [&](StateId state) {
    if (reaches[state]) return;
    reaches[state] = true;
    found.push_back(state);
  };
  const auto follow = [&](uint32_t index) {  // the end of the edge reaches
    const Edge& edge = edges_[index];
    if (edge.kind == Kind::byte && what == Reach::end_without_reading) return;
    if (edge.kind == Kind::call && !reaches[starts_.at(edge.rule)]) {
      callers[edge.rule].push_back(index);
    } else {
      mark(edge.from);
    }
  };
  for (StateId state = 0; state < states_.size(); ++state) {
    if (states_[state].accepts) mark(state);
  }
  for (uint32_t i = 0; i < edges_.size(); ++i) {
    if (edges_[i].to == kEnd) follow(i);
    else into[edges_[i].to].push_back(i);
  }
  while (!found.empty()) {
    const StateId state = found.back();
    found.pop_back();
    for (const uint32_t index : into[state]) follow(index);
    const auto rule = rule_of.find(state);
    if (rule == rule_of.end()) continue;
    for (const uint32_t index : callers[rule->second]) mark(edges_[index].from);
  }
  return reaches;
}

// What leads to where no text ends is no way.
void GrammarCompiler::prune(const std::vector<bool>& useful) {
  std::erase_if(edges_, [&](const Edge& edge) {
    return (edge.to != kEnd && !useful[edge.to]) ||
           (edge.kind == Kind::call && !useful[starts_.at(edge.rule)]);
  });
  sort_edges();
}

// A rule that can come to call itself while nothing has been read, if there is one.
std::optional<GrammarCompiler::RuleId> GrammarCompiler::left_recursion(
    const std::vector<bool>& nullable) const {
  enum class Colour : uint8_t { unseen, open, done };
  std::vector<Colour> colours(source_.rules_.size(), Colour::unseen);
  std::vector<bool> seen(states_.size(), false);
  struct Visit {
    RuleId rule;
    std::vector<RuleId> calls;
  };
  for (const auto& [first, start] : starts_) {
    if (colours[first] != Colour::unseen) continue;
    std::vector<Visit> path;
    path.push_back({first, first_calls(first, nullable, seen)});
    colours[first] = Colour::open;
    while (!path.empty()) {
      Visit& visit = path.back();
      if (visit.calls.empty()) {
        colours[visit.rule] = Colour::done;
        path.pop_back();
        continue;
      }
      const RuleId next = visit.calls.back();
      visit.calls.pop_back();
      if (colours[next] == Colour::open) return next;
      if (colours[next] == Colour::done) continue;
      colours[next] = Colour::open;
      path.push_back({next, first_calls(next, nullable, seen)});
    }
  }
  return std::nullopt;
}

// The rules that a rule may call before anything is read.
std::vector<GrammarCompiler::RuleId> GrammarCompiler::first_calls(RuleId rule,
                                                                  const std::vector<bool>& nullable,
                                                                  std::vector<bool>& seen) const {
  std::vector<RuleId> calls;
  std::vector<StateId> open;
  const auto visit = [&](StateId state) {
    if (state == kEnd || seen[state]) return;
    seen[state] = true;  // of this rule alone: no two share a state
    open.push_back(state);
  };
  visit(starts_.at(rule));
  while (!open.empty()) {
    const StateId state = open.back();
    open.pop_back();
    for (uint32_t i = first_edge_[state]; i < first_edge_[state + 1]; ++i) {
      const Edge& edge = edges_[i];
      if (edge.kind == Kind::skip) visit(edge.to);
      if (edge.kind != Kind::call) continue;
      calls.push_back(edge.rule);
      if (nullable[starts_.at(edge.rule)]) visit(edge.to);
    }
  }
  std::ranges::sort(calls);
  calls.erase(std::ranges::unique(calls).begin(), calls.end());
  return calls;
}

std::vector<GrammarCompiler::StateId> GrammarCompiler::reachable(RuleId root) const {
  std::vector<bool> seen(states_.size(), false);
  std::vector<StateId> found = {starts_.at(root)};
  seen[found[0]] = true;
  const auto visit = [&](StateId state) {
    if (state == kEnd || seen[state]) return;
    seen[state] = true;
    found.push_back(state);
  };
  for (size_t at = 0; at < found.size(); ++at) {
    for (uint32_t i = first_edge_[found[at]]; i < first_edge_[found[at] + 1]; ++i) {
      visit(edges_[i].to);
      if (edges_[i].kind == Kind::call) visit(starts_.at(edges_[i].rule));
    }
  }
  return found;
}

// Bytes between two neighbouring borders of edges are one class.
void GrammarCompiler::number_classes(Grammar& grammar) const {
  std::array<bool, 257> begins = {};
  begins[0] = true;
  for (const Edge& edge : edges_) {
    if (edge.kind != Kind::byte) continue;
    begins[edge.low] = true;
    begins[edge.high + 1U] = true;
  }
  size_t n_classes = 0;
  for (size_t byte = 0; byte < 256; ++byte) {
    if (begins[byte]) ++n_classes;
    grammar.classes_[byte] = static_cast<uint8_t>(n_classes - 1);
  }
  grammar.n_classes_ = n_classes;
}

std::shared_ptr<const Grammar> GrammarCompiler::assemble(RuleId root,
                                                         const std::vector<bool>& nullable) const {
  const std::shared_ptr<Grammar> grammar(new Grammar());
  number_classes(*grammar);
  const auto kept = reachable(root);
  std::vector<StateId> number(states_.size(), kEnd);
  for (size_t i = 0; i < kept.size(); ++i) number[kept[i]] = static_cast<StateId>(i);
  const auto renumbered = [&](StateId state) { return state == kEnd ? kEnd : number[state]; };
  const auto mark = [&] {
    Grammar::State state;
    state.first_byte = static_cast<uint32_t>(grammar->bytes_.size());
    state.first_call = static_cast<uint32_t>(grammar->calls_.size());
    state.first_skip = static_cast<uint32_t>(grammar->skips_.size());
    grammar->states_.push_back(state);
  };
  for (const StateId id : kept) {
    mark();
    const State& state = states_[id];
    grammar->states_.back().accepts = state.accepts;
    const bool reads = !state.repeated || !nullable[starts_.at(*state.repeated)];
    const bool has_alike = reads && number[state.alike] != kEnd;
    grammar->states_.back().alike = number[has_alike ? state.alike : id];
    grammar->states_.back().alike_bytes = state.alike_bytes;
    for (uint32_t i = first_edge_[id]; i < first_edge_[id + 1]; ++i) {
      const Edge& edge = edges_[i];
      const StateId to = renumbered(edge.to);
      if (edge.kind == Kind::skip) grammar->skips_.push_back(to);
      else if (edge.kind == Kind::call)
        grammar->calls_.push_back({number[starts_.at(edge.rule)], to});
      else
        grammar->bytes_.push_back({grammar->classes_[edge.low], grammar->classes_[edge.high], to});
    }
  }
  mark();
  grammar->start_ = number[starts_.at(root)];
  return grammar;
}

}  // namespace tristill
