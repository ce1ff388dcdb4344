#include "model/engine/waiting_queue.h"

#include <algorithm>
#include <queue>
#include <tuple>

#include "base/check.h"

namespace tristill::engine {

// A key that comes (back) starts where the least served of those present stands: idleness earns no
// credit.
WaitingQueue::Line& WaitingQueue::line_of(const Sequence& sequence) {
  const GenerationRequest& request = sequence.state->request;
  Lines& lines = lines_[request.priority];
  const auto known = lines.find(request.fairness_key);
  if (known != lines.end()) return known->second;
  double least = 0;
  bool first = true;
  for (const auto& [key, line] : lines) {
    least = first ? line.paid : std::min(least, line.paid);
    first = false;
  }
  Line& line = lines[request.fairness_key];
  line.paid = least;
  return line;
}

void WaitingQueue::push(std::unique_ptr<Sequence> sequence) {
  line_of(*sequence).waiting.push_back(std::move(sequence));
  ++n_;
}

void WaitingQueue::push_front(std::unique_ptr<Sequence> sequence) {
  line_of(*sequence).waiting.push_front(std::move(sequence));
  ++n_;
}

std::vector<Sequence*> WaitingQueue::first(size_t n) const {
  std::vector<Sequence*> order;
  for (const auto& [priority, lines] : lines_) {
    // (what the key will have paid, key, place in its line)
    using Next = std::tuple<double, const std::string*, const Line*, size_t>;
    const auto later = [](const Next& a, const Next& b) {
      return std::tie(std::get<0>(a), *std::get<1>(a)) > std::tie(std::get<0>(b), *std::get<1>(b));
    };
    std::priority_queue<Next, std::vector<Next>, decltype(later)> next(later);
    for (const auto& [key, line] : lines) {
      if (!line.waiting.empty()) next.emplace(line.paid, &key, &line, 0);
    }
    while (!next.empty() && order.size() < n) {
      const auto [paid, key, line, place] = next.top();
      next.pop();
      Sequence* sequence = line->waiting[place].get();
      order.push_back(sequence);
      if (place + 1 < line->waiting.size()) {
        next.emplace(paid + sequence->work(), key, line, place + 1);
      }
    }
  }
  return order;
}

void WaitingQueue::for_each(const std::function<void(const Sequence&)>& visit) const {
  for (const auto& [priority, lines] : lines_) {
    for (const auto& [key, line] : lines) {
      for (const auto& sequence : line.waiting) visit(*sequence);
    }
  }
}

std::unique_ptr<Sequence> WaitingQueue::take(const Sequence& sequence) {
  Line& line = line_of(sequence);
  const auto at = std::find_if(line.waiting.begin(), line.waiting.end(),
                               [&](const auto& other) { return other.get() == &sequence; });
  CHECK(at != line.waiting.end());
  auto taken = std::move(*at);
  line.waiting.erase(at);
  if (!taken->was_preempted) line.paid += taken->work();
  --n_;
  return taken;
}

void WaitingQueue::erase_if(const std::function<bool(Sequence&)>& drop) {
  for (auto& [priority, lines] : lines_) {
    for (auto& [key, line] : lines) {
      n_ -= std::erase_if(line.waiting, [&](auto& sequence) { return drop(*sequence); });
    }
  }
  // Keys that wait for nothing are forgotten once all are: their debts would mean nothing then.
  if (n_ == 0) lines_.clear();
}

}  // namespace tristill::engine
