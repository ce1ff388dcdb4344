#include "model/grammar/grammar_state.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <set>
#include <stdexcept>

#include "base/check.h"

namespace tristill {
namespace {

void allow(std::vector<uint64_t>& bits, TokenId token) {
  bits[static_cast<size_t>(token) / 64] |= uint64_t{1} << (static_cast<size_t>(token) % 64);
}

}  // namespace

GrammarState::GrammarState(std::shared_ptr<const Grammar> grammar,
                           std::shared_ptr<const TokenTrie> trie, std::vector<TokenId> ends)
    : grammar_(std::move(grammar)),
      trie_(std::move(trie)),
      ends_(std::move(ends)),
      automaton_(std::make_unique<GrammarAutomaton>(*grammar_)),
      locals_(grammar_->n_states()),
      work_limit_(first_work()),
      allowed_((trie_->vocab_size() + 63) / 64),
      path_(trie_->longest() + 1) {
  at_ = automaton_->sets().push(grammar_->start(), automaton_->sets().bottom());
}

bool GrammarState::ends_with(TokenId token) const {
  return std::ranges::find(ends_, token) != ends_.end();
}

bool GrammarState::may_end() { return automaton_->view(at_).ends; }

bool GrammarState::must_end() {
  const auto& view = automaton_->view(at_);
  return view.ends && view.open.empty();
}

GrammarState::Id GrammarState::follow(std::string_view bytes) {
  Id at = at_;
  for (size_t i = 0; i < bytes.size() && at != StackSets::kNone; ++i) {
    at = automaton_->step(at, static_cast<uint8_t>(bytes[i]));
  }
  return at;
}

bool GrammarState::allows(TokenId token) {
  if (ends_with(token)) return may_end();
  const std::string_view bytes = trie_->bytes_of(token);
  const bool allowed = !bytes.empty() && follow(bytes) != StackSets::kNone;
  check_limits();
  return allowed;
}

bool GrammarState::accept(TokenId token) {
  const std::string_view bytes = trie_->bytes_of(token);
  return !bytes.empty() && accept(bytes);
}

bool GrammarState::accept(std::string_view bytes) {
  const Id next = follow(bytes);
  check_limits();
  if (next == StackSets::kNone) return false;
  at_ = next;
  const uint64_t regained = work_limit_ + kTokenWork + trie_->n_nodes() / 2;
  work_limit_ = std::min(regained, work() + first_work());
  forget_old();
  return true;
}

bool GrammarState::mask(std::span<float> logits) {
  constexpr float kNever = -std::numeric_limits<float>::infinity();
  std::ranges::fill(allowed_, 0);
  collect(at_);
  check_limits();
  for (const TokenId token : ends_) {
    const size_t index = static_cast<size_t>(token);
    if (token < 0 || index >= trie_->vocab_size()) continue;
    allowed_[index / 64] &= ~(uint64_t{1} << (index % 64));
    if (may_end()) allow(allowed_, token);
  }
  bool any = false;
  for (size_t word = 0; word < allowed_.size(); ++word) {
    const size_t first = word * 64;
    if (first >= logits.size()) break;
    any = any || allowed_[word] != 0;
    const size_t n = std::min<size_t>(64, logits.size() - first);
    if (allowed_[word] == ~uint64_t{0}) continue;
    for (size_t i = 0; i < n; ++i) {
      if ((allowed_[word] >> i & 1) == 0) logits[first + i] = kNever;
    }
  }
  for (size_t i = allowed_.size() * 64; i < logits.size(); ++i) logits[i] = kNever;
  return any;
}

// Every token that some stack of the set lets come: within the rule on top, found once a state, or
// beyond its end, as the stacks below say.
void GrammarState::collect(Id set) {
  // Many states, of many names that may come, say: together they leave few ways through the trie.
  if (automaton_->sets().frames(set).size() > kManyStates ||
      automaton_->view(set).open.size() > kManyStates) {
    return walk(0, trie_->n_nodes(), set, allowed_, nullptr);
  }
  const auto order = [](const auto& a, const auto& b) {
    return a.state != b.state ? a.state < b.state : a.below < b.below;
  };
  std::set<StackSets::Frame, decltype(order)> seen(order);
  std::vector<StackSets::Frame> open;
  const auto add = [&](Id stacks) {
    for (const auto& frame : automaton_->sets().frames(stacks)) {
      if (frame.state != StackSets::kBottom && seen.insert(frame).second) open.push_back(frame);
    }
  };
  add(set);
  while (!open.empty()) {
    const StackSets::Frame frame = open.back();
    open.pop_back();
    const Local& local = local_of(frame.state);
    for (size_t i = 0; i < allowed_.size(); ++i) allowed_[i] |= local.allowed[i];
    past_work_ += 8 + allowed_.size() / 8;
    for (const uint32_t node : local.escapes) {
      walk(node + 1, trie_->node(node).end, frame.below, allowed_, nullptr);
    }
    if (local.escapes_at_once) add(frame.below);
    check_limits();
  }
}

const GrammarState::Local& GrammarState::local_of(Grammar::StateId state) {
  const Grammar::State& known = grammar_->state(state);
  if (known.alike != state && known.alike_bytes > trie_->longest()) state = known.alike;
  if (locals_[state] != nullptr) return *locals_[state];
  auto local = find_local(state);
  local_bytes_ += sizeof(Local) + 8 * local->allowed.size() + 4 * local->escapes.size();
  locals_[state] = std::move(local);
  return *locals_[state];
}

std::unique_ptr<GrammarState::Local> GrammarState::find_local(Grammar::StateId state) {
  auto local = std::make_unique<Local>();
  const Id start = automaton_->sets().push(state, automaton_->sets().unknown());
  local->escapes_at_once = automaton_->view(start).escapes;
  const Grammar::StateId alike = grammar_->state(state).alike;
  const size_t same_below = alike == state ? 0 : grammar_->state(state).alike_bytes;
  if (same_below > 1) {  // only what is longer has to be looked for
    const Local& known = local_of(alike);
    local->allowed = known.allowed;
    std::ranges::copy_if(known.escapes, std::back_inserter(local->escapes),
                         [&](uint32_t node) { return trie_->node(node).depth < same_below; });
  } else {
    local->allowed.resize(allowed_.size());
  }
  walk(0, trie_->n_nodes(), start, local->allowed, local.get(), same_below);
  return local;
}

// Allows the tokens of trie nodes [first, end) that can come after `from`, which is the set before
// node `first`. With a local the stack below is unknown: notes where it would go on, and forbids
// what cannot come. Nothing is said of tokens and nodes that are less deep than least_depth.
void GrammarState::walk(uint32_t first, uint32_t end, Id from, std::vector<uint64_t>& allowed,
                        Local* local, size_t least_depth) {
  if (first >= end) return;
  path_[trie_->node(first).depth - 1U] = from;
  uint32_t at = first;
  uint32_t visited = 0;
  while (at < end) {
    const TokenTrie::Node& node = trie_->node(at);
    if (node.deepest < least_depth) {
      at = node.end;
      continue;
    }
    ++visited;
    check_limits();
    const Id next = automaton_->step(path_[node.depth - 1U], node.byte);
    if (next == StackSets::kNone) {
      if (least_depth > 0) forbid(at, least_depth, allowed);
      at = node.end;
      continue;
    }
    path_[node.depth] = next;
    if (node.depth >= least_depth) {
      for (const TokenId token : trie_->tokens(at)) allow(allowed, token);
      const bool has_more = node.end > at + 1;
      if (local != nullptr && has_more && automaton_->view(next).escapes) {
        local->escapes.push_back(at);
      }
    }
    ++at;
  }
  past_work_ += visited / 4 + 1;
}

// The tokens that begin with a node's bytes, from a depth on.
void GrammarState::forbid(uint32_t node, size_t least_depth, std::vector<uint64_t>& allowed) const {
  for (uint32_t at = node; at < trie_->node(node).end; ++at) {
    if (trie_->node(at).depth < least_depth) continue;
    for (const TokenId token : trie_->tokens(at)) {
      allowed[static_cast<size_t>(token) / 64] &=
          ~(uint64_t{1} << (static_cast<size_t>(token) % 64));
    }
  }
}

void GrammarState::check_limits() const {
  if (work() > work_limit_) {
    throw std::runtime_error(
        "the grammar takes too long to follow: too many ways to read the text");
  }
  if (automaton_->bytes() + local_bytes_ > kMaxBytes) {
    throw std::runtime_error("the grammar takes too much memory to follow");
  }
}

void GrammarState::forget_old() {
  if (automaton_->bytes() > kKeptBytes) {
    auto fresh = std::make_unique<GrammarAutomaton>(*grammar_);
    past_work_ += automaton_->work();
    at_ = fresh->sets().copy(automaton_->sets(), at_);
    automaton_ = std::move(fresh);
  }
  if (local_bytes_ > kKeptBytes) {
    locals_.clear();
    locals_.resize(grammar_->n_states());
    local_bytes_ = 0;
  }
}

}  // namespace tristill
