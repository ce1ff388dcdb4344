#include "server/jinja/parser.h"

#include <algorithm>
#include <charconv>
#include <initializer_list>
#include <optional>

#include "server/jinja/context.h"
#include "server/jinja/lexer.h"

namespace tristill::jinja {
namespace {

// Parts of an expression in parts of an expression; also blocks in blocks.
constexpr int kMaxDepth = 200;

int depth_of(const ExpressionPtr& expression) { return expression ? expression->depth : 0; }

int depth_of(const std::vector<ExpressionPtr>& expressions) {
  int deepest = 0;
  for (const auto& one : expressions) deepest = std::max(deepest, depth_of(one));
  return deepest;
}

template <class First>
int depth_of(const std::vector<std::pair<First, ExpressionPtr>>& expressions) {
  int deepest = 0;
  for (const auto& [first, second] : expressions) deepest = std::max(deepest, depth_of(second));
  return deepest;
}

int depth_of(const CallArguments& arguments) {
  return std::max(depth_of(arguments.positional), depth_of(arguments.named));
}

class Parser {
 public:
  explicit Parser(std::string_view source) : tokens_(tokenize(source)) {}

  Block run() { return block({}); }

 private:
  // ---- tokens

  const Token& now() const { return tokens_[at_]; }
  const Token& after() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  Token take() { return std::move(tokens_[at_ + 1 < tokens_.size() ? at_++ : at_]); }

  bool is_symbol(std::string_view symbol) const {
    return now().kind == TokenKind::symbol && now().value == symbol;
  }
  static bool is_word(const Token& token, std::string_view word) {
    return token.kind == TokenKind::name && token.value == word;
  }
  bool is_word(std::string_view word) const { return is_word(now(), word); }
  bool skip_symbol(std::string_view symbol) {
    if (!is_symbol(symbol)) return false;
    take();
    return true;
  }
  bool skip_word(std::string_view word) {
    if (!is_word(word)) return false;
    take();
    return true;
  }

  [[noreturn]] void fail(std::string message) const { fail(std::move(message), now().line); }
  [[noreturn]] static void fail(std::string message, int line) {
    throw Failure{std::move(message), line};
  }

  std::string shown() const {
    switch (now().kind) {
      case TokenKind::end: return "the end of the template";
      case TokenKind::variable_end: return "}}";
      case TokenKind::block_end: return "%}";
      case TokenKind::string: return "a string";
      default: return "\"" + now().value.substr(0, 40) + "\"";
    }
  }
  void expect(std::string_view symbol) {
    if (!skip_symbol(symbol)) fail("expected " + std::string(symbol) + ", found " + shown());
  }
  void expect(TokenKind kind, const char* what) {
    if (now().kind != kind) fail(std::string("expected ") + what + ", found " + shown());
    take();
  }
  std::string expect_name(const char* what) {
    if (now().kind != TokenKind::name) fail(std::string("expected ") + what + ", found " + shown());
    return take().value;
  }

  // One level of recursion.
  class Level {
   public:
    explicit Level(Parser& parser) : parser_(parser) {
      if (parser_.level_ >= kMaxDepth) parser_.too_deep();
      ++parser_.level_;
    }
    ~Level() { --parser_.level_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

   private:
    Parser& parser_;
  };
  [[noreturn]] void too_deep() const {
    fail("nested deeper than " + std::to_string(kMaxDepth) + " levels");
  }

  template <class Form>
  ExpressionPtr make(int line, int depth_inside, Form form) {
    if (depth_inside >= kMaxDepth) too_deep();
    return std::make_unique<const Expression>(Expression{line, depth_inside + 1, std::move(form)});
  }

  // ---- statements

  // Statements up to a block whose first word is one of ends; that word is the current token then.
  // Without ends: up to the end of the template.
  Block block(std::initializer_list<std::string_view> ends) {
    const Level level(*this);
    Block body;
    for (;;) {
      const int line = now().line;
      if (now().kind == TokenKind::data) {
        body.push_back({line, Output{make_text(take().value, Origin::written)}});
      } else if (now().kind == TokenKind::variable_begin) {
        take();
        body.push_back({line, Print{tuple()}});
        expect(TokenKind::variable_end, "}}");
      } else if (now().kind == TokenKind::block_begin) {
        take();
        if (std::any_of(ends.begin(), ends.end(), [&](auto end) { return is_word(end); }))
          return body;
        statement(line, body);
        expect(TokenKind::block_end, "%}");
      } else {
        if (ends.size() > 0) fail("{% " + std::string(ends.begin()[0]) + " %} is missing");
        return body;
      }
    }
  }

  // The rest of a block's tag, its body, and the word that ended it.
  Block body(std::initializer_list<std::string_view> ends) {
    skip_symbol(":");
    expect(TokenKind::block_end, "%}");
    return block(ends);
  }
  Block whole_body(std::string_view end) {
    Block statements = body({end});
    take();
    return statements;
  }

  void statement(int line, Block& into) {
    const std::string word = expect_name("a statement");
    const auto add = [&](auto form) { into.push_back({line, std::move(form)}); };
    if (word == "set") set(line, into);
    else if (word == "if") add(conditional());
    else if (word == "for") add(for_loop());
    else if (word == "macro") add(macro());
    else if (word == "break" || word == "continue") add(loop_control(word == "break"));
    else if (word == "filter") add(filter_block());
    else if (word == "with") add(with_block());
    else if (word == "generation") add(ScopeBlock{{}, outside_loops("endgeneration")});
    else {
      fail("there is no statement \"" + word +
           "\" here; accepted are set, if, for, macro, break, continue, filter, with, raw");
    }
  }

  // A body that break and continue do not leave.
  Block outside_loops(std::string_view end) {
    const int loops = std::exchange(loops_, 0);
    Block statements = whole_body(end);
    loops_ = loops;
    return statements;
  }

  void set(int line, Block& into) {
    Target target = assignment_target(true);
    if (skip_symbol("=")) {
      into.push_back({line, Assignment{std::move(target), tuple()}});
      return;
    }
    ExpressionPtr filter = is_symbol("|") ? filters(nullptr) : nullptr;
    Block statements = outside_loops("endset");
    into.push_back(
        {line, BlockAssignment{std::move(target), std::move(statements), std::move(filter)}});
  }

  Target assignment_target(bool may_be_attribute) {
    Target target;
    const bool in_brackets = skip_symbol("(");
    do {
      const bool is_over = now().kind != TokenKind::name || is_word("in");
      if (!target.names.empty() && is_over) break;  // a comma at the end
      const std::string name = expect_name("a name to assign to");
      if (name == "true" || name == "false" || name == "none" || name == "True" ||
          name == "False" || name == "None") {
        fail(name + " cannot be assigned to");
      }
      target.names.push_back(name);
      if (may_be_attribute && target.names.size() == 1 && skip_symbol(".")) {
        target.attribute = expect_name("an attribute");
        return target;
      }
      target.is_tuple = target.is_tuple || is_symbol(",");
    } while (skip_symbol(","));
    if (in_brackets) expect(")");
    return target;
  }

  Conditional conditional() {
    Conditional form;
    for (;;) {
      ExpressionPtr condition = tuple(false);
      ++branches_;
      Block statements = body({"endif", "elif", "else"});
      form.branches.emplace_back(std::move(condition), std::move(statements));
      const std::string word = take().value;
      if (word == "else") form.otherwise = whole_body("endif");
      --branches_;
      if (word != "elif") return form;
    }
  }

  ForLoop for_loop() {
    ForLoop form;
    form.target = assignment_target(false);
    if (!skip_word("in")) fail("expected in, found " + shown());
    form.items = tuple(false);
    if (skip_word("if")) form.filter = expression();
    if (is_word("recursive")) fail("recursive loops are not supported");
    const size_t named_before = loop_names_;
    ++loops_;
    form.body = body({"endfor", "else"});
    --loops_;
    form.uses_loop = loop_names_ > named_before;
    if (take().value == "else") form.otherwise = whole_body("endfor");
    return form;
  }

  Macro macro() {
    Macro form;
    form.name = expect_name("the macro's name");
    expect("(");
    while (!is_symbol(")")) {
      if (!form.parameters.empty()) expect(",");
      Parameter parameter{expect_name("a parameter"), nullptr};
      if (skip_symbol("=")) parameter.fallback = expression();
      else if (!form.parameters.empty() && form.parameters.back().fallback != nullptr) {
        fail("a parameter without a default follows one with a default");
      }
      form.parameters.push_back(std::move(parameter));
    }
    expect(")");
    form.body = outside_loops("endmacro");
    return form;
  }

  LoopControl loop_control(bool is_break) {
    if (loops_ == 0) fail(std::string(is_break ? "break" : "continue") + " outside of a loop");
    return {is_break};
  }

  FilterBlock filter_block() {
    ExpressionPtr first = one_filter(nullptr);
    ExpressionPtr all = filters(std::move(first));
    return {std::move(all), outside_loops("endfilter")};
  }

  ScopeBlock with_block() {
    ScopeBlock form;
    while (now().kind != TokenKind::block_end && !is_symbol(":")) {
      if (!form.assignments.empty()) expect(",");
      Target target;
      target.names.push_back(expect_name("a name to assign to"));
      expect("=");
      form.assignments.emplace_back(std::move(target), expression());
    }
    form.body = whole_body("endwith");
    return form;
  }

  // ---- expressions, from the loosest binding to the tightest

  bool ends_tuple() const {
    return now().kind == TokenKind::variable_end || now().kind == TokenKind::block_end ||
           is_symbol(")");
  }

  // One expression, or several with commas between: a tuple.
  ExpressionPtr tuple(bool may_choose = true, bool may_be_empty = false) {
    const int line = now().line;
    std::vector<ExpressionPtr> items;
    bool is_tuple = false;
    while (!ends_tuple()) {
      items.push_back(may_choose ? expression() : disjunction());
      if (!skip_symbol(",")) break;
      is_tuple = true;
    }
    if (items.empty() && !may_be_empty) fail("expected an expression, found " + shown());
    if (items.size() == 1 && !is_tuple) return std::move(items[0]);
    const int depth = depth_of(items);
    return make(line, depth, ListDisplay{std::move(items), List::Kind::tuple});
  }

  // then if condition else otherwise
  ExpressionPtr expression() {
    const Level level(*this);
    ExpressionPtr value = disjunction();
    while (is_word("if")) {
      const int line = take().line;
      ExpressionPtr condition = disjunction();
      ExpressionPtr otherwise = skip_word("else") ? expression() : nullptr;
      const int depth = std::max({depth_of(value), depth_of(condition), depth_of(otherwise)});
      value =
          make(line, depth, Choice{std::move(condition), std::move(value), std::move(otherwise)});
    }
    return value;
  }

  template <class Operand>
  ExpressionPtr logic(std::string_view word, const Operand& operand) {
    ExpressionPtr first = operand();
    if (!is_word(word)) return first;
    const int line = now().line;
    std::vector<ExpressionPtr> operands;
    operands.push_back(std::move(first));
    while (skip_word(word)) operands.push_back(operand());
    const int depth = depth_of(operands);
    return make(line, depth, Logic{std::move(operands), word == "and"});
  }

  ExpressionPtr disjunction() {
    return logic("or", [&] { return logic("and", [&] { return negation(); }); });
  }

  ExpressionPtr negation() {
    if (!is_word("not")) return comparison();
    const Level level(*this);
    const int line = take().line;
    ExpressionPtr operand = negation();
    const int depth = depth_of(operand);
    return make(line, depth, Negation{std::move(operand)});
  }

  std::optional<Relation> relation() {
    constexpr std::pair<std::string_view, Relation> kSymbols[] = {
        {"==", Relation::equal},      {"!=", Relation::not_equal}, {"<", Relation::less},
        {"<=", Relation::less_equal}, {">", Relation::greater},    {">=", Relation::greater_equal}};
    for (const auto& [symbol, found] : kSymbols) {
      if (skip_symbol(symbol)) return found;
    }
    if (skip_word("in")) return Relation::in;
    if (is_word("not") && is_word(after(), "in")) {
      take();
      take();
      return Relation::not_in;
    }
    return std::nullopt;
  }

  ExpressionPtr comparison() {
    const int line = now().line;
    ExpressionPtr first = sum();
    std::vector<std::pair<Relation, ExpressionPtr>> rest;
    while (const auto found = relation()) rest.emplace_back(*found, sum());
    if (rest.empty()) return first;
    const int depth = std::max(depth_of(first), depth_of(rest));
    return make(line, depth, Comparison{std::move(first), std::move(rest)});
  }

  template <class Operand>
  ExpressionPtr arithmetic(std::initializer_list<std::pair<std::string_view, Operator>> operators,
                           const Operand& operand) {
    const int line = now().line;
    ExpressionPtr first = operand();
    std::vector<std::pair<Operator, ExpressionPtr>> rest;
    for (;;) {
      const auto found = std::find_if(operators.begin(), operators.end(),
                                      [&](const auto& one) { return is_symbol(one.first); });
      if (found == operators.end()) break;
      take();
      rest.emplace_back(found->second, operand());
    }
    if (rest.empty()) return first;
    const int depth = std::max(depth_of(first), depth_of(rest));
    return make(line, depth, Arithmetic{std::move(first), std::move(rest)});
  }

  ExpressionPtr sum() {
    return arithmetic({{"+", Operator::add}, {"-", Operator::subtract}},
                      [&] { return concatenation(); });
  }

  ExpressionPtr concatenation() {
    const int line = now().line;
    ExpressionPtr first = product();
    if (!is_symbol("~")) return first;
    std::vector<ExpressionPtr> parts;
    parts.push_back(std::move(first));
    while (skip_symbol("~")) parts.push_back(product());
    const int depth = depth_of(parts);
    return make(line, depth, Concatenation{std::move(parts)});
  }

  ExpressionPtr product() {
    return arithmetic({{"*", Operator::multiply},
                       {"/", Operator::divide},
                       {"//", Operator::floor_divide},
                       {"%", Operator::modulo}},
                      [&] { return power(); });
  }

  ExpressionPtr power() {
    return arithmetic({{"**", Operator::power}}, [&] { return unary(true); });
  }

  ExpressionPtr unary(bool with_filters) {
    const Level level(*this);
    ExpressionPtr value;
    if (is_symbol("-") || is_symbol("+")) {
      const Token sign = take();
      ExpressionPtr operand = unary(false);
      const int depth = depth_of(operand);
      value = make(sign.line, depth, Signed{std::move(operand), sign.value == "-"});
    } else {
      value = primary();
    }
    value = postfix(std::move(value));
    return with_filters ? filters_and_tests(std::move(value)) : std::move(value);
  }

  ExpressionPtr primary() {
    const Token token = now();
    switch (token.kind) {
      case TokenKind::name: take(); return named(token);
      case TokenKind::string: return string();
      case TokenKind::integer:
      case TokenKind::floating: take(); return number(token);
      default: break;
    }
    if (skip_symbol("(")) {
      ExpressionPtr value = tuple(true, true);
      expect(")");
      return value;
    }
    if (skip_symbol("[")) return list(token.line);
    if (skip_symbol("{")) return dict(token.line);
    fail("expected an expression, found " + shown());
  }

  ExpressionPtr named(const Token& token) {
    const std::string& name = token.value;
    const auto constant = [&](Value value) { return make(token.line, 0, Constant{value}); };
    if (name == "true" || name == "True") return constant(true);
    if (name == "false" || name == "False") return constant(false);
    if (name == "none" || name == "None") return constant(None{});
    if (name == "loop") ++loop_names_;
    return make(token.line, 0, Name{name});
  }

  ExpressionPtr string() {
    const int line = now().line;
    std::string value;
    while (now().kind == TokenKind::string) value += take().value;
    return make(line, 0, Constant{make_text(value, Origin::written)});
  }

  ExpressionPtr number(const Token& token) {
    std::string_view digits = token.value;
    const char* const end = digits.data() + digits.size();
    if (token.kind == TokenKind::floating) {
      double value = 0;
      const auto [stop, failed] = std::from_chars(digits.data(), end, value);
      if (failed != std::errc()) fail("a number is out of range", token.line);
      return make(token.line, 0, Constant{value});
    }
    const char form = digits.size() > 2 ? static_cast<char>(digits[1] | 0x20) : '0';
    const int base = form == 'b' ? 2 : form == 'o' ? 8 : form == 'x' ? 16 : 10;
    if (base != 10) digits.remove_prefix(2);
    int64_t value = 0;
    const auto [stop, failed] = std::from_chars(digits.data(), end, value, base);
    if (failed != std::errc()) fail("an integer is beyond 64 bits", token.line);
    return make(token.line, 0, Constant{value});
  }

  ExpressionPtr list(int line) {
    std::vector<ExpressionPtr> items;
    while (!is_symbol("]")) {
      items.push_back(expression());
      if (!is_symbol("]")) expect(",");
    }
    take();
    const int depth = depth_of(items);
    return make(line, depth, ListDisplay{std::move(items), List::Kind::list});
  }

  ExpressionPtr dict(int line) {
    DictDisplay form;
    int depth = 0;
    while (!is_symbol("}")) {
      ExpressionPtr key = expression();
      expect(":");
      ExpressionPtr value = expression();
      depth = std::max({depth, depth_of(key), depth_of(value)});
      form.entries.emplace_back(std::move(key), std::move(value));
      if (!is_symbol("}")) expect(",");
    }
    take();
    return make(line, depth, std::move(form));
  }

  ExpressionPtr postfix(ExpressionPtr value) {
    for (;;) {
      if (is_symbol(".")) value = attribute(std::move(value));
      else if (is_symbol("[")) value = subscript(std::move(value));
      else if (is_symbol("(")) value = call(std::move(value));
      else return value;
    }
  }

  ExpressionPtr filters_and_tests(ExpressionPtr value) {
    for (;;) {
      if (is_symbol("|")) value = filters(std::move(value));
      else if (is_word("is")) value = test(std::move(value));
      else if (is_symbol("(")) value = call(std::move(value));
      else return value;
    }
  }

  ExpressionPtr attribute(ExpressionPtr object) {
    const int line = take().line;
    const int depth = depth_of(object);
    if (now().kind == TokenKind::name) {
      return make(line, depth, Attribute{std::move(object), take().value});
    }
    if (now().kind != TokenKind::integer) fail("expected an attribute, found " + shown());
    ExpressionPtr key = number(take());
    return make(line, depth, Subscript{std::move(object), std::move(key)});
  }

  ExpressionPtr subscript(ExpressionPtr object) {
    const int line = take().line;
    if (is_symbol("]")) fail("expected a key or a position, found \"]\"");
    ExpressionPtr parts[3];
    bool is_slice = false;
    for (size_t i = 0; i < 3; ++i) {
      if (!is_symbol(":") && !is_symbol("]")) parts[i] = expression();
      if (!is_symbol(":") || i == 2) break;
      take();
      is_slice = true;
    }
    expect("]");
    const int depth =
        std::max({depth_of(object), depth_of(parts[0]), depth_of(parts[1]), depth_of(parts[2])});
    if (!is_slice) return make(line, depth, Subscript{std::move(object), std::move(parts[0])});
    return make(
        line, depth,
        Slice{std::move(object), std::move(parts[0]), std::move(parts[1]), std::move(parts[2])});
  }

  CallArguments arguments() {
    CallArguments given;
    expect("(");
    while (!is_symbol(")")) {
      if (is_symbol("*") || is_symbol("**")) fail("arguments behind * or ** are not supported");
      if (now().kind == TokenKind::name && after().kind == TokenKind::symbol &&
          after().value == "=") {
        std::string name = take().value;
        take();
        given.named.emplace_back(std::move(name), expression());
      } else {
        if (!given.named.empty()) fail("an argument without a name follows one with a name");
        given.positional.push_back(expression());
      }
      if (!is_symbol(")")) expect(",");
    }
    take();
    return given;
  }

  ExpressionPtr call(ExpressionPtr function) {
    const int line = now().line;
    CallArguments given = arguments();
    const int depth = std::max(depth_of(function), depth_of(given));
    return make(line, depth, Call{std::move(function), std::move(given)});
  }

  ExpressionPtr filters(ExpressionPtr input) {
    while (skip_symbol("|")) input = one_filter(std::move(input));
    return input;
  }

  ExpressionPtr one_filter(ExpressionPtr input) {
    const int line = now().line;
    const std::string name = expect_name("a filter's name");
    const Filter filter = find_filter(name);
    if (filter == nullptr && branches_ == 0) fail("there is no filter \"" + name + "\" here", line);
    CallArguments given = is_symbol("(") ? arguments() : CallArguments{};
    const int depth = std::max(depth_of(input), depth_of(given));
    return make(line, depth, Filtered{std::move(input), filter, std::move(given), name});
  }

  bool begins_test_argument() const {
    switch (now().kind) {
      case TokenKind::string:
      case TokenKind::integer:
      case TokenKind::floating: return true;
      case TokenKind::name: return !is_word("else") && !is_word("or") && !is_word("and");
      default: return is_symbol("[") || is_symbol("{");
    }
  }

  ExpressionPtr test(ExpressionPtr input) {
    const int line = take().line;
    const bool is_negated = skip_word("not");
    const std::string name = expect_name("a test's name");
    const Predicate predicate = find_predicate(name);
    if (predicate == nullptr && branches_ == 0) {
      fail("there is no test \"" + name + "\" here", line);
    }
    CallArguments given;
    if (is_symbol("(")) given = arguments();
    else if (is_word("is")) fail("tests with is cannot follow each other");
    else if (begins_test_argument()) {
      const Level level(*this);
      given.positional.push_back(postfix(primary()));
    }
    const int depth = std::max(depth_of(input), depth_of(given));
    ExpressionPtr value =
        make(line, depth, Tested{std::move(input), predicate, std::move(given), name});
    return is_negated ? make(line, depth + 1, Negation{std::move(value)}) : std::move(value);
  }

  std::vector<Token> tokens_;
  size_t at_ = 0;
  int level_ = 0;
  int branches_ = 0;  // of if statements around: what is not known here may never be asked for
  size_t loop_names_ = 0;  // how often "loop" was read
  int loops_ = 0;  // for statements around the current one that break leaves
};

}  // namespace

Block parse(std::string_view source) { return Parser(source).run(); }

}  // namespace tristill::jinja
