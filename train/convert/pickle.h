// A Python pickle (protocols 2 to 5) as data: what it would import and call is named, and never
// imported or called. Reads untrusted bytes, of which there are few: the numbers of a checkpoint
// stand elsewhere. Any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace tristill::convert {

using NodeId = uint32_t;

struct PickleNode {
  enum class Kind {
    none,
    boolean,     // integer: 0 or 1
    integer,
    real,
    text,        // text: UTF-8, or the bytes of a bytes object
    sequence,    // items: of a list, tuple or set
    dict,        // items: key, value, key, value, ...
    name,        // text: "module.attribute", of a class or function
    call,        // items: callable, arguments, then pairs as in dict that were set on the result
    persistent,  // items: the one node that says which object outside of the pickle
  };
  Kind kind = Kind::none;
  int64_t integer = 0;
  double real = 0;
  std::string text;
  std::vector<NodeId> items;
};

// Nodes name each other by their place; one may be in several others, or in itself.
class Pickle {
 public:
  // Errors: corrupt, also beyond 64 MiB or 4 million objects; invalid_argument for an instruction
  // beyond those that data need.
  static Result<Pickle> parse(std::span<const std::byte> bytes);

  const PickleNode& root() const { return nodes_[root_]; }
  const PickleNode& at(NodeId id) const { return nodes_[id]; }
  // Key, value, key, value, ... of a dict or of what a call returned; none of other nodes.
  static std::span<const NodeId> pairs(const PickleNode& node);
  // The value of a key of text, among those pairs; null without one.
  const PickleNode* find(const PickleNode& dict, std::string_view key) const;

 private:
  friend class PickleReader;
  std::vector<PickleNode> nodes_;
  NodeId root_ = 0;
};

}  // namespace tristill::convert
