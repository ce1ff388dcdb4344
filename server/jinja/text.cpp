#include "server/jinja/text.h"

#include <algorithm>

#include "base/check.h"

namespace tristill::jinja {
namespace {

auto run_of(const std::vector<Text::Run>& runs, size_t byte) {
  return std::upper_bound(runs.begin(), runs.end(), byte,
                          [](size_t at, const Text::Run& run) { return at < run.end; });
}

}  // namespace

Origin Text::origin_at(size_t byte) const {
  CHECK(byte < size());
  return run_of(runs_, byte)->origin;
}

void Text::append(std::string_view bytes, Origin origin) {
  if (bytes.empty()) return;
  bytes_ += bytes;
  if (runs_.empty() || runs_.back().origin != origin) runs_.push_back({0, origin});
  runs_.back().end = bytes_.size();
}

void Text::append(const Text& other, size_t begin, size_t end) {
  CHECK(begin <= end && end <= other.size() && this != &other);
  const std::string_view bytes = other.bytes_;
  for (auto run = run_of(other.runs_, begin); begin < end; ++run) {
    const size_t stop = std::min(run->end, end);
    append(bytes.substr(begin, stop - begin), run->origin);
    begin = stop;
  }
}

Text Text::slice(size_t begin, size_t end) const {
  Text part;
  part.append(*this, begin, end);
  return part;
}

}  // namespace tristill::jinja
