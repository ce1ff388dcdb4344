#include "model/grammar/grammar_builder.h"

#include <algorithm>

#include "base/check.h"

namespace tristill {
namespace {

// Repetitions are copies, many of them copies of copies: 256 at a time.
constexpr uint32_t kChunk = 256;

Error too_large(const std::string& what, size_t most) {
  return {ErrorCode::resource_exhausted,
          "the grammar has too many " + what + "; accepted are at most " + std::to_string(most),
          ""};
}

}  // namespace

void GrammarBuilder::fail(Error error) {
  if (!error_) error_ = std::move(error);
}

GrammarBuilder::Expr GrammarBuilder::add(Expression expression) {
  for (const uint32_t part : expression.parts) {
    expression.depth = std::max(expression.depth, expressions_.at(part).depth + 1);
  }
  if (expression.depth > kMaxDepth) fail(too_large("expressions within each other", kMaxDepth));
  if (expressions_.size() >= kMaxExpressions) fail(too_large("expressions", kMaxExpressions));
  if (error_) {  // nothing grows any more
    if (expressions_.empty()) expressions_.emplace_back();
    return {0};
  }
  expressions_.push_back(std::move(expression));
  return {static_cast<uint32_t>(expressions_.size() - 1)};
}

GrammarBuilder::Expr GrammarBuilder::empty() { return add({.kind = Kind::sequence}); }
GrammarBuilder::Expr GrammarBuilder::nothing() { return add({.kind = Kind::choice}); }

GrammarBuilder::Expr GrammarBuilder::literal(std::string_view bytes) {
  return one_of({std::string(bytes)});
}

GrammarBuilder::Expr GrammarBuilder::one_of(std::vector<std::string> texts) {
  for (const std::string& text : texts) literal_bytes_ += text.size();
  if (literal_bytes_ > kMaxLiteralBytes) fail(too_large("bytes of literals", kMaxLiteralBytes));
  std::ranges::sort(texts);
  texts.erase(std::ranges::unique(texts).begin(), texts.end());
  return add({.kind = Kind::texts, .texts = std::move(texts)});
}

GrammarBuilder::Expr GrammarBuilder::byte_range(uint8_t low, uint8_t high) {
  CHECK(low <= high);
  return add({.kind = Kind::bytes, .low = low, .high = high});
}

GrammarBuilder::Expr GrammarBuilder::code_points(const CodePoints& set) {
  const auto known = rule_of_set_.find(set);
  if (known != rule_of_set_.end()) return call(known->second);
  const Expr body = add({.kind = Kind::utf8, .ranges = set.utf8()});
  if (set.empty() || set.ranges().back().high < 0x80) return body;
  const RuleId own = rule("a character");
  define(own, body);
  rule_of_set_.emplace(set, own);
  return call(own);
}

GrammarBuilder::Expr GrammarBuilder::sequence(std::vector<Expr> parts) {
  if (parts.size() == 1) return parts[0];
  Expression expression{.kind = Kind::sequence};
  for (const Expr part : parts) expression.parts.push_back(part.index);
  return add(std::move(expression));
}

GrammarBuilder::Expr GrammarBuilder::choice(std::vector<Expr> alternatives) {
  if (alternatives.size() == 1) return alternatives[0];
  Expression expression{.kind = Kind::choice};
  for (const Expr part : alternatives) expression.parts.push_back(part.index);
  return add(std::move(expression));
}

GrammarBuilder::Expr GrammarBuilder::repeat(Expr part, uint32_t least,
                                            std::optional<uint32_t> most) {
  CHECK(!most || least <= *most);
  if (least > kMaxRepeats || most.value_or(0) > kMaxRepeats) {
    fail(too_large("repetitions", kMaxRepeats));
    return empty();
  }
  const bool many = least > 1 || most.value_or(0) > 1;
  if (many) part = as_rule(part);
  if (std::max(least, most.value_or(0)) <= 2 * kChunk) {
    return add({.kind = Kind::repeat, .least = least, .most = most, .parts = {part.index}});
  }
  const Expr tail = most ? at_most(part, *most - least)
                         : add({.kind = Kind::repeat, .least = 0, .parts = {part.index}});
  return sequence({exactly(part, least), tail});
}

// The same text, in one edge.
GrammarBuilder::Expr GrammarBuilder::as_rule(Expr part) {
  const Kind kind = expressions_.at(part.index).kind;
  if (kind == Kind::call || kind == Kind::bytes) return part;
  const RuleId own = rule("a repeated part");
  define(own, part);
  return call(own);
}

GrammarBuilder::Expr GrammarBuilder::exactly(Expr part, uint32_t count) {
  const auto copies = [&](Expr of, uint32_t n) {
    return add({.kind = Kind::repeat, .least = n, .most = n, .parts = {of.index}});
  };
  if (count <= 2 * kChunk) return copies(part, count);
  const Expr chunk = as_rule(copies(part, kChunk));
  return sequence({copies(chunk, count / kChunk), copies(part, count % kChunk)});
}

// Up to count = q * kChunk + r of them: fewer than q chunks and less than a chunk, or q chunks and
// up to r.
GrammarBuilder::Expr GrammarBuilder::at_most(Expr part, uint32_t count) {
  const auto up_to = [&](Expr of, uint32_t n) {
    return add({.kind = Kind::repeat, .least = 0, .most = n, .parts = {of.index}});
  };
  if (count <= 2 * kChunk) return up_to(part, count);
  const Expr chunk =
      as_rule(add({.kind = Kind::repeat, .least = kChunk, .most = kChunk, .parts = {part.index}}));
  const uint32_t q = count / kChunk;
  const Expr all = add({.kind = Kind::repeat, .least = q, .most = q, .parts = {chunk.index}});
  return choice({sequence({up_to(chunk, q - 1), up_to(part, kChunk - 1)}),
                 sequence({all, up_to(part, count % kChunk)})});
}

GrammarBuilder::RuleId GrammarBuilder::rule(std::string name) {
  if (rules_.size() >= kMaxRules) {
    fail(too_large("rules", kMaxRules));
    return 0;
  }
  rules_.push_back({.name = std::move(name)});
  return static_cast<RuleId>(rules_.size() - 1);
}

void GrammarBuilder::define(RuleId rule, Expr body) {
  if (error_) return;
  CHECK(!rules_.at(rule).body);
  rules_[rule].body = body.index;
}

GrammarBuilder::Expr GrammarBuilder::call(RuleId rule) {
  CHECK(error_ || rule < rules_.size());
  return add({.kind = Kind::call, .rule = rule});
}

}  // namespace tristill
