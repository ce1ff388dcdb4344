#include "train/convert/pickle.h"

#include <algorithm>
#include <bit>
#include <optional>
#include <unordered_map>

#include "base/byte_reader.h"

namespace tristill::convert {
namespace {

using Kind = PickleNode::Kind;

// As Python's pickletools names them.
enum Op : uint8_t {
  kMark = '(',
  kStop = '.',
  kPop = '0',
  kPopMark = '1',
  kDup = '2',
  kBinFloat = 'G',
  kBinInt = 'J',
  kBinInt1 = 'K',
  kBinInt2 = 'M',
  kNone = 'N',
  kBinPersId = 'Q',
  kReduce = 'R',
  kBinUnicode = 'X',
  kAppend = 'a',
  kBuild = 'b',
  kGlobal = 'c',
  kAppends = 'e',
  kBinGet = 'h',
  kLongBinGet = 'j',
  kBinPut = 'q',
  kLongBinPut = 'r',
  kSetItem = 's',
  kTuple = 't',
  kSetItems = 'u',
  kEmptyDict = '}',
  kEmptyList = ']',
  kEmptyTuple = ')',
  kBinBytes = 'B',
  kShortBinBytes = 'C',
  kProto = 0x80,
  kNewObj = 0x81,
  kTuple1 = 0x85,
  kTuple2 = 0x86,
  kTuple3 = 0x87,
  kNewTrue = 0x88,
  kNewFalse = 0x89,
  kLong1 = 0x8a,
  kShortBinUnicode = 0x8c,
  kBinUnicode8 = 0x8d,
  kBinBytes8 = 0x8e,
  kEmptySet = 0x8f,
  kAddItems = 0x90,
  kStackGlobal = 0x93,
  kMemoize = 0x94,
  kFrame = 0x95,
};

constexpr uint8_t kLastProtocol = 5;
constexpr size_t kMostBytes = 64 << 20;  // the numbers of tensors are beside it
constexpr size_t kMostNodes = 4 << 20;   // of some 100 bytes each
constexpr size_t kLongestName = 1024;    // of a module, of a class

Error corrupt(const std::string& what) {
  return {ErrorCode::corrupt, "pickle: " + what, "init_from_weights"};
}

}  // namespace

// The machine of a pickle: a stack of nodes, the heights that marks were set at, and a memo.
class PickleReader {
 public:
  explicit PickleReader(std::span<const std::byte> bytes) : in_(bytes) {}

  Result<Pickle> read() {
    for (;;) {
      const uint8_t op = in_.u8();
      if (!in_.ok()) return corrupt("cut off before its end");
      if (op == kStop) break;
      if (auto ok = take(op); !ok) return ok.error();
      if (out_.nodes_.size() > kMostNodes) {
        return corrupt("of more than 4194304 objects, which is no list of weights");
      }
      if (!in_.ok()) return corrupt("cut off before its end");
    }
    if (stack_.size() != 1 || !marks_.empty()) return corrupt("does not end with one object");
    out_.root_ = stack_.back();
    return std::move(out_);
  }

 private:
  NodeId push(PickleNode node) {
    out_.nodes_.push_back(std::move(node));
    stack_.push_back(static_cast<NodeId>(out_.nodes_.size() - 1));
    return stack_.back();
  }
  Result<void> push_integer(int64_t value) {
    push({.kind = Kind::integer, .integer = value});
    return {};
  }
  Result<void> push_text(uint64_t bytes) {
    push({.kind = Kind::text, .text = std::string(in_.text(bytes))});
    return {};
  }

  // The lowest place that the newest mark leaves to take from.
  size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }
  bool holds(size_t n) const { return stack_.size() - floor() >= n; }

  // The n topmost nodes, in order.
  std::optional<std::vector<NodeId>> pop(size_t n) {
    if (!holds(n)) return std::nullopt;
    std::vector<NodeId> top(stack_.end() - static_cast<ptrdiff_t>(n), stack_.end());
    stack_.resize(stack_.size() - n);
    return top;
  }
  // All above the newest mark, which goes.
  std::optional<std::vector<NodeId>> pop_to_mark() {
    if (marks_.empty()) return std::nullopt;
    auto top = pop(stack_.size() - floor());
    marks_.pop_back();
    return top;
  }

  Result<void> push_of(Kind kind, std::optional<std::vector<NodeId>> items) {
    if (!items) return corrupt("takes more than there is");
    push({.kind = kind, .items = std::move(*items)});
    return {};
  }
  // Onto the node that is on top.
  Result<void> add(const std::optional<std::vector<NodeId>>& items, bool pairs) {
    if (!items || !holds(1) || (pairs && items->size() % 2 != 0)) {
      return corrupt("adds what is not there");
    }
    PickleNode& target = out_.nodes_[stack_.back()];
    const bool takes =
        target.kind == Kind::call || target.kind == (pairs ? Kind::dict : Kind::sequence);
    if (!takes) return corrupt("adds to what holds nothing");
    if (target.kind != Kind::call || pairs) {
      target.items.insert(target.items.end(), items->begin(), items->end());
    }
    return {};
  }
  Result<void> remember(uint64_t key) {
    if (!holds(1)) return corrupt("remembers nothing");
    memo_[key] = stack_.back();
    return {};
  }
  Result<void> recall(uint64_t key) {
    const auto found = memo_.find(key);
    if (found == memo_.end()) return corrupt("recalls what it did not remember");
    stack_.push_back(found->second);
    return {};
  }

  // A whole number of n bytes, the sign with the last; of at most 8.
  Result<void> push_long(uint8_t n) {
    if (n > sizeof(int64_t)) {
      in_.take(n);
      push({});  // seeds of generators and the like; no size of a tensor
      return {};
    }
    uint64_t value = 0;
    uint8_t last = 0;
    for (uint8_t i = 0; i < n; ++i) {
      last = in_.u8();
      value |= uint64_t{last} << (8U * i);
    }
    if (n > 0 && n < sizeof(int64_t) && (last & 0x80U) != 0) value |= ~uint64_t{0} << (8U * n);
    return push_integer(static_cast<int64_t>(value));
  }
  Result<void> push_float() {
    uint64_t bits = 0;
    for (int i = 0; i < 8; ++i) bits = bits << 8U | in_.u8();  // big-endian
    push({.kind = Kind::real, .real = std::bit_cast<double>(bits)});
    return {};
  }
  std::string line() {
    std::string text;
    for (uint8_t c = in_.u8(); in_.ok() && c != '\n'; c = in_.u8()) text += static_cast<char>(c);
    return text;
  }
  Result<void> push_global() {
    const std::string module = line();
    push({.kind = Kind::name, .text = module + "." + line()});
    return {};
  }
  Result<void> push_stack_global() {
    const auto names = pop(2);
    if (!names) return corrupt("names nothing");
    const PickleNode& module = out_.nodes_[(*names)[0]];
    const PickleNode& attribute = out_.nodes_[(*names)[1]];
    if (module.kind != Kind::text || attribute.kind != Kind::text) return corrupt("names no text");
    if (std::max(module.text.size(), attribute.text.size()) > kLongestName) {
      return corrupt("names a class of more than 1024 bytes");
    }
    push({.kind = Kind::name, .text = module.text + "." + attribute.text});
    return {};
  }

  Result<void> take(uint8_t op) {
    switch (op) {
      case kProto:
        if (in_.u8() > kLastProtocol) return corrupt("of a protocol that is not known");
        return {};
      case kFrame: in_.u64(); return {};
      case kMark: marks_.push_back(stack_.size()); return {};
      case kPop: return pop(1) ? Result<void>{} : corrupt("drops what is not there");
      case kPopMark: return pop_to_mark() ? Result<void>{} : corrupt("drops what is not there");
      case kDup:
        if (!holds(1)) return corrupt("doubles nothing");
        stack_.push_back(stack_.back());
        return {};
      case kNone: push({}); return {};
      case kNewTrue: push({.kind = Kind::boolean, .integer = 1}); return {};
      case kNewFalse: push({.kind = Kind::boolean}); return {};
      case kBinInt: return push_integer(in_.read<int32_t>());
      case kBinInt1: return push_integer(in_.u8());
      case kBinInt2: return push_integer(in_.u16());
      case kLong1: return push_long(in_.u8());
      case kBinFloat: return push_float();
      case kShortBinUnicode:
      case kShortBinBytes: return push_text(in_.u8());
      case kBinUnicode:
      case kBinBytes: return push_text(in_.u32());
      case kBinUnicode8:
      case kBinBytes8: return push_text(in_.u64());
      case kEmptyList:
      case kEmptyTuple:
      case kEmptySet: push({.kind = Kind::sequence}); return {};
      case kEmptyDict: push({.kind = Kind::dict}); return {};
      case kTuple: return push_of(Kind::sequence, pop_to_mark());
      case kTuple1: return push_of(Kind::sequence, pop(1));
      case kTuple2: return push_of(Kind::sequence, pop(2));
      case kTuple3: return push_of(Kind::sequence, pop(3));
      case kAppend: return add(pop(1), false);
      case kAppends:
      case kAddItems: return add(pop_to_mark(), false);
      case kSetItem: return add(pop(2), true);
      case kSetItems: return add(pop_to_mark(), true);
      case kGlobal: return push_global();
      case kStackGlobal: return push_stack_global();
      case kReduce:
      case kNewObj: return push_of(Kind::call, pop(2));
      case kBuild: return pop(1) && holds(1) ? Result<void>{} : corrupt("builds nothing");
      case kBinPersId: return push_of(Kind::persistent, pop(1));
      case kBinPut: return remember(in_.u8());
      case kLongBinPut: return remember(in_.u32());
      case kMemoize: return remember(memo_.size());
      case kBinGet: return recall(in_.u8());
      case kLongBinGet: return recall(in_.u32());
      default:
        return Error{ErrorCode::invalid_argument,
                     "pickle: instruction " + std::to_string(op) +
                         " is none that weights need; save the state_dict alone",
                     "init_from_weights"};
    }
  }

  ByteReader in_;
  Pickle out_;
  std::vector<NodeId> stack_;
  std::vector<size_t> marks_;
  std::unordered_map<uint64_t, NodeId> memo_;
};

Result<Pickle> Pickle::parse(std::span<const std::byte> bytes) {
  if (bytes.size() > kMostBytes) return corrupt("of more than 64 MiB, which names no weights");
  return PickleReader(bytes).read();
}

std::span<const NodeId> Pickle::pairs(const PickleNode& node) {
  const std::span<const NodeId> items(node.items);
  if (node.kind == Kind::call) return items.subspan(2);
  return node.kind == Kind::dict ? items : items.first(0);
}

const PickleNode* Pickle::find(const PickleNode& dict, std::string_view key) const {
  const auto found = pairs(dict);
  for (size_t i = 0; i + 1 < found.size(); i += 2) {
    const PickleNode& name = at(found[i]);
    if (name.kind == Kind::text && name.text == key) return &at(found[i + 1]);
  }
  return nullptr;
}

}  // namespace tristill::convert
