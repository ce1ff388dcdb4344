// Text: bytes that remember where they came from, so that a chat's control tokens are made of what
// the template itself says and never of what a user wrote. Plain data: any thread. Knows no limits;
// who makes a Text pays for it in Context.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace tristill::jinja {

enum class Origin {
  written,  // by the author of the template, or by the server itself
  data,  // values that came from outside, and what was computed
};

// UTF-8; the origin of every byte.
class Text {
 public:
  struct Run {
    size_t end = 0;  // first byte after the run
    Origin origin = Origin::data;
  };

  Text() = default;
  Text(std::string_view bytes, Origin origin) { append(bytes, origin); }

  const std::string& bytes() const { return bytes_; }
  size_t size() const { return bytes_.size(); }
  bool empty() const { return bytes_.empty(); }
  // In order, none empty, neighbours of different origin.
  const std::vector<Run>& runs() const { return runs_; }
  Origin origin_at(size_t byte) const;

  void append(std::string_view bytes, Origin origin);
  void append(const Text& other) { append(other, 0, other.size()); }
  // Bytes [begin, end) of another, with their origins.
  void append(const Text& other, size_t begin, size_t end);
  Text slice(size_t begin, size_t end) const;

 private:
  std::string bytes_;
  std::vector<Run> runs_;
};

}  // namespace tristill::jinja
