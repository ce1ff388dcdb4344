#include "model/grammar/grammar_automaton.h"

#include <algorithm>

namespace tristill {
namespace {

constexpr uint32_t kNowhere = UINT32_MAX;

}  // namespace

const GrammarAutomaton::View& GrammarAutomaton::view(Id set) {
  if (set < views_.size() && views_[set] != nullptr) return *views_[set];
  auto view = std::make_unique<View>();
  place_.resize(grammar_.n_states(), kNowhere);
  leave(set, *view);
  while (!unspread_.empty()) {
    const Frame frame = reached_[unspread_.back()];
    unspread_.pop_back();
    spread(frame, *view);
  }
  for (const Frame& frame : reached_) {
    place_[frame.state] = kNowhere;
    if (!grammar_.bytes(frame.state).empty()) view->open.push_back(frame);
  }
  reached_.clear();
  view->open.shrink_to_fit();
  view_bytes_ += sizeof(View) + view->open.size() * sizeof(Frame);
  if (set >= views_.size()) views_.resize(sets_.size());
  views_[set] = std::move(view);
  return *views_[set];
}

// One more state, or more stacks below a known one: then what it leads to gets them too.
void GrammarAutomaton::reach(Frame frame, View& view) {
  ++work_;
  if (frame.state == StackSets::kBottom) {
    view.ends = true;
    return;
  }
  if (frame.state == StackSets::kUnknown) {
    view.escapes = true;
    return;
  }
  uint32_t& place = place_[frame.state];
  if (place == kNowhere) {
    place = static_cast<uint32_t>(reached_.size());
    reached_.push_back(frame);
    unspread_.push_back(place);
    return;
  }
  Frame& known = reached_[place];
  const Id below = sets_.unite(known.below, frame.below);
  if (below == known.below) return;
  known.below = below;
  unspread_.push_back(place);
}

// A rule ended: what lies below goes on.
void GrammarAutomaton::leave(Id stacks, View& view) {
  for (size_t i = 0; i < sets_.frames(stacks).size(); ++i) reach(sets_.frames(stacks)[i], view);
}

void GrammarAutomaton::spread(Frame frame, View& view) {
  for (const auto to : grammar_.skips(frame.state)) reach({to, frame.below}, view);
  for (const auto& call : grammar_.calls(frame.state)) {
    // Where nothing comes after the call, nothing has to be remembered.
    const bool last = call.back == Grammar::kEnd;
    reach({call.start, last ? frame.below : sets_.push(call.back, frame.below)}, view);
  }
  if (grammar_.state(frame.state).accepts) leave(frame.below, view);
}

GrammarAutomaton::Id GrammarAutomaton::find_step(Id set, uint8_t byte_class) {
  for (const Frame& frame : view(set).open) {
    for (const auto& edge : grammar_.bytes(frame.state)) {
      ++work_;
      if (byte_class < edge.low || byte_class > edge.high) continue;
      if (edge.to != Grammar::kEnd) {
        next_frames_.push_back({edge.to, frame.below});
        continue;
      }
      const auto below = sets_.frames(frame.below);
      work_ += below.size();
      next_frames_.insert(next_frames_.end(), below.begin(), below.end());
    }
  }
  const Id next = sets_.set_of(next_frames_);
  if (set >= rows_.size()) rows_.resize(sets_.size(), kNoRow);
  if (rows_[set] == kNoRow) {
    rows_[set] = static_cast<uint32_t>(next_.size());
    next_.resize(next_.size() + grammar_.n_classes(), kUnfound);
    work_ += grammar_.n_classes() / 4;
  }
  next_[rows_[set] + byte_class] = next;
  return next;
}

size_t GrammarAutomaton::bytes() const {
  return sets_.bytes() + view_bytes_ + next_.size() * sizeof(Id) + rows_.size() * sizeof(uint32_t) +
         views_.size() * sizeof(void*);
}

}  // namespace tristill
