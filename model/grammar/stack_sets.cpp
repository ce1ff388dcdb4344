#include "model/grammar/stack_sets.h"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace tristill {

StackSets::StackSets() : known_(64, Hash{this}, Equal{this}) {
  intern({});
  const Frame bottom{kBottom, kNone};
  const Frame unknown{kUnknown, kNone};
  bottom_ = intern({&bottom, 1});
  unknown_ = intern({&unknown, 1});
}

size_t StackSets::Hash::operator()(Id set) const {
  uint64_t hash = 0xCBF29CE484222325ULL;
  for (const Frame& frame : sets->frames(set)) {
    hash = (hash ^ (uint64_t{frame.state} << 32 | frame.below)) * 0x9E3779B97F4A7C15ULL;
    hash ^= hash >> 29;
  }
  return hash;
}

bool StackSets::Equal::operator()(Id a, Id b) const {
  return std::ranges::equal(sets->frames(a), sets->frames(b));
}

// Added first, so that known_ can compare it, and taken back when it was known.
StackSets::Id StackSets::intern(std::span<const Frame> sorted) {
  const auto id = static_cast<Id>(size());
  work_ += 4 + sorted.size();
  frames_.insert(frames_.end(), sorted.begin(), sorted.end());
  first_.push_back(static_cast<uint32_t>(frames_.size()));
  const auto [found, is_new] = known_.insert(id);
  if (!is_new) {
    first_.pop_back();
    frames_.resize(first_.back());
    return *found;
  }
  uint32_t depth = 0;
  for (const Frame& frame : frames(id)) {
    if (frame.state < kUnknown) depth = std::max(depth, depth_[frame.below] + 1);
  }
  depth_.push_back(depth);
  if (depth > kMaxDepth) {
    throw std::runtime_error("the text is nested deeper than its grammar may be followed: " +
                             std::to_string(kMaxDepth) + " levels");
  }
  return id;
}

StackSets::Id StackSets::push(StateId top, Id below) {
  const Frame frame{top, below};
  return intern({&frame, 1});
}

StackSets::Id StackSets::set_of(std::vector<Frame>& list) {
  if (list.empty()) return kNone;
  std::ranges::sort(list, {}, &Frame::state);
  size_t n = 0;
  for (size_t i = 1; i < list.size(); ++i) {
    if (list[i].state == list[n].state) list[n].below = unite(list[n].below, list[i].below);
    else list[++n] = list[i];
  }
  const Id id = intern(std::span(list).first(n + 1));
  list.clear();
  return id;
}

StackSets::Id StackSets::unite(Id a, Id b) {
  if (a == b || b == kNone) return a;
  if (a == kNone) return b;
  work_ += 2;
  const uint64_t both = uint64_t{std::min(a, b)} << 32 | std::max(a, b);
  if (const auto known = united_.find(both); known != united_.end()) return known->second;
  // By index: what is interned meanwhile moves the frames.
  std::vector<Frame> merged;
  const size_t n_a = frames(a).size(), n_b = frames(b).size();
  for (size_t i = 0, j = 0; i < n_a || j < n_b;) {
    const bool has_a = i < n_a, has_b = j < n_b;
    if (has_a && has_b && frames(a)[i].state == frames(b)[j].state) {
      const Frame x = frames(a)[i++];
      merged.push_back({x.state, unite(x.below, frames(b)[j++].below)});
    } else if (has_a && (!has_b || frames(a)[i].state < frames(b)[j].state)) {
      merged.push_back(frames(a)[i++]);
    } else {
      merged.push_back(frames(b)[j++]);
    }
  }
  const Id id = intern(merged);
  united_.emplace(both, id);
  return id;
}

StackSets::Id StackSets::copy(const StackSets& others, Id id) {
  // What a set's frames lie on is older than the set: ascending, all of it is there in time.
  std::vector<Id> needed = {id};
  std::unordered_map<Id, Id> copies;
  for (size_t i = 0; i < needed.size(); ++i) {
    if (!copies.emplace(needed[i], kNone).second) continue;
    for (const Frame& frame : others.frames(needed[i])) needed.push_back(frame.below);
  }
  std::ranges::sort(needed);
  needed.erase(std::ranges::unique(needed).begin(), needed.end());
  std::vector<Frame> moved;
  for (const Id old : needed) {
    moved.clear();
    for (const Frame& frame : others.frames(old)) {
      moved.push_back({frame.state, copies.at(frame.below)});
    }
    copies[old] = intern(moved);
  }
  return copies.at(id);
}

size_t StackSets::bytes() const {
  constexpr size_t kNode = 48;  // of a hash table, with its list pointers
  return frames_.size() * sizeof(Frame) + size() * (2 * sizeof(uint32_t) + kNode) +
         united_.size() * kNode;
}

}  // namespace tristill
