#include "server/jinja/interpreter.h"

#include <algorithm>

#include "server/jinja/globals.h"
#include "server/jinja/operations.h"

namespace tristill::jinja {
namespace {

constexpr size_t kMacroBytes = 512;  // of a macro and the scope that it keeps

// Variables; what is not here may be in the scope around. Names are of the syntax tree.
struct Scope {
  Scope* parent = nullptr;
  std::map<std::string_view, Value> variables = {};
  bool is_kept = false;  // a macro that was defined here may be called later
};

enum class Flow { on, leave, next };

template <class... Functions>
struct Overloaded : Functions... {
  using Functions::operator()...;
};
template <class... Functions>
Overloaded(Functions...) -> Overloaded<Functions...>;

class Interpreter {
 public:
  Interpreter(Context& context, const std::map<std::string, Value, std::less<>>& variables)
      : context_(context), given_(variables) {}

  Text run(const Block& body) {
    Text out;
    render(body, root_, out);
    return out;
  }

 private:
  // A scope for the length of a block, or of the rendering when a macro needs it.
  class Inner {
   public:
    Inner(Interpreter& interpreter, Scope& parent)
        : interpreter_(interpreter), scope_(std::make_unique<Scope>(Scope{&parent})) {}
    ~Inner() {
      if (scope_->is_kept) interpreter_.kept_.push_back(std::move(scope_));
    }
    Inner(const Inner&) = delete;
    Inner& operator=(const Inner&) = delete;
    Scope& operator*() const { return *scope_; }

   private:
    Interpreter& interpreter_;
    std::unique_ptr<Scope> scope_;
  };

  // ---- statements

  Flow render(const Block& body, Scope& scope, Text& out) {
    const Context::Level level(context_);
    for (const Statement& statement : body) {
      context_.step();
      context_.line = statement.line;
      const Flow flow =
          std::visit([&](const auto& form) { return execute(form, scope, out); }, statement.form);
      if (flow != Flow::on) return flow;
    }
    return Flow::on;
  }

  // A block's output as a value, with variables of its own.
  Value rendered(const Block& body, Scope& scope) {
    const Inner inner(*this, scope);
    Text out;
    render(body, *inner, out);
    return make_text(context_, std::move(out));
  }

  Flow execute(const Output& form, Scope&, Text& out) {
    append_text(context_, form.text, out);
    context_.check_output(out.size());
    return Flow::on;
  }

  Flow execute(const Print& form, Scope& scope, Text& out) {
    append_text(context_, evaluate(*form.value, scope), out);
    context_.check_output(out.size());
    return Flow::on;
  }

  Flow execute(const Assignment& form, Scope& scope, Text&) {
    assign(form.target, evaluate(*form.value, scope), scope, scope);
    return Flow::on;
  }

  Flow execute(const BlockAssignment& form, Scope& scope, Text&) {
    Value value = rendered(form.body, scope);
    if (form.filter) value = filtered(*form.filter, value, scope);
    assign(form.target, std::move(value), scope, scope);
    return Flow::on;
  }

  Flow execute(const Conditional& form, Scope& scope, Text& out) {
    for (const auto& [condition, body] : form.branches) {
      if (is_true(evaluate(*condition, scope))) return render(body, scope, out);
    }
    return render(form.otherwise, scope, out);
  }

  bool passes(const ForLoop& form, const Value& item, Scope& scope) {
    if (!form.filter) return true;
    const Inner inner(*this, scope);
    assign(form.target, item, *inner, *inner);
    return is_true(evaluate(*form.filter, *inner));
  }

  Flow execute(const ForLoop& form, Scope& scope, Text& out) {
    ListPtr items = items_of(context_, evaluate(*form.items, scope));
    // Where nothing asks for the loop, the filter is asked when its element's turn comes: the body
    // may have changed a namespace by then.
    const bool filters_first = form.filter != nullptr && form.uses_loop;
    if (filters_first) {
      std::vector<Value> kept;
      for (const Value& item : items->items) {
        context_.step();
        if (passes(form, item, scope)) kept.push_back(item);
      }
      items = std::get<ListPtr>(make_list(context_, std::move(kept)));
    }
    const auto loop = std::make_shared<const Loop>(Loop{items});
    bool has_completed = false;  // an element's body, neither left nor cut short: Jinja's rule
    Flow flow = Flow::on;
    for (; loop->index < items->items.size() && flow != Flow::leave; ++loop->index) {
      context_.step();
      const Value& item = items->items[loop->index];
      if (!filters_first && !passes(form, item, scope)) continue;
      const Inner inner(*this, scope);
      (*inner).variables["loop"] = loop;
      assign(form.target, item, *inner, *inner);
      flow = render(form.body, *inner, out);
      has_completed = has_completed || flow == Flow::on;
    }
    if (has_completed) return Flow::on;
    const Inner inner(*this, scope);
    return render(form.otherwise, *inner, out);
  }

  Flow execute(const Macro& form, Scope& scope, Text&) {
    context_.make_bytes(kMacroBytes);
    for (Scope* kept = &scope; kept != nullptr; kept = kept->parent) kept->is_kept = true;
    scope.variables[form.name] =
        make_function(form.name, [this, &form, &scope](Context&, const Arguments& arguments) {
          return call(form, arguments, scope);
        });
    return Flow::on;
  }

  Flow execute(const FilterBlock& form, Scope& scope, Text& out) {
    const Value value = rendered(form.body, scope);
    append_text(context_, filtered(*form.filter, value, scope), out);
    context_.check_output(out.size());
    return Flow::on;
  }

  Flow execute(const ScopeBlock& form, Scope& scope, Text& out) {
    const Inner inner(*this, scope);
    for (const auto& [target, value] : form.assignments) {
      assign(target, evaluate(*value, scope), *inner, *inner);
    }
    return render(form.body, *inner, out);
  }

  Flow execute(const LoopControl& form, Scope&, Text&) {
    return form.is_break ? Flow::leave : Flow::next;
  }

  // Names go into the scope `into`; a namespace is looked for from `from` on.
  void assign(const Target& target, Value value, Scope& into, Scope& from) {
    if (!target.attribute.empty()) {
      const Value object = look_up(target.names[0], from);
      Namespace* const* space = std::get_if<Namespace*>(&object);
      if (space == nullptr) {
        context_.fail("an attribute is set of \"" + target.names[0] + "\", which is " +
                      describe(object) + "; accepted is a namespace");
      }
      (*space)->values[target.attribute] = std::move(value);
    } else if (target.is_tuple) {
      const ListPtr items = items_of(context_, value);
      if (items->items.size() != target.names.size()) {
        context_.fail(std::to_string(items->items.size()) + " elements cannot be assigned to " +
                      std::to_string(target.names.size()) + " names");
      }
      for (size_t i = 0; i < target.names.size(); ++i) {
        into.variables[target.names[i]] = items->items[i];
      }
    } else {
      into.variables[target.names[0]] = std::move(value);
    }
  }

  Value call(const Macro& macro, const Arguments& arguments, Scope& scope) {
    if (arguments.positional.size() > macro.parameters.size()) {
      context_.fail("the macro " + macro.name + " takes at most " +
                    std::to_string(macro.parameters.size()) + " arguments");
    }
    const Inner inner(*this, scope);
    for (const auto& [name, value] : arguments.named) {
      const bool is_known =
          std::any_of(macro.parameters.begin(), macro.parameters.end(),
                      [&, &given = name](const Parameter& one) { return one.name == given; });
      if (!is_known) context_.fail("the macro " + macro.name + " has no argument \"" + name + "\"");
    }
    for (size_t i = 0; i < macro.parameters.size(); ++i) {
      const Parameter& parameter = macro.parameters[i];
      const auto named = std::find_if(arguments.named.begin(), arguments.named.end(),
                                      [&](const auto& one) { return one.first == parameter.name; });
      const bool by_position = i < arguments.positional.size();
      if (by_position && named != arguments.named.end()) {
        context_.fail("the macro " + macro.name + " was given " + parameter.name + " twice");
      }
      Value& place = (*inner).variables[parameter.name];
      if (by_position) place = arguments.positional[i];
      else if (named != arguments.named.end()) place = named->second;
      else if (parameter.fallback) place = evaluate(*parameter.fallback, *inner);
      else place = Undefined{parameter.name};
    }
    Text out;
    render(macro.body, *inner, out);
    return make_text(context_, std::move(out));
  }

  // ---- expressions

  Value look_up(const std::string& name, const Scope& scope) {
    for (const Scope* at = &scope; at != nullptr; at = at->parent) {
      const auto found = at->variables.find(name);
      if (found != at->variables.end()) return found->second;
    }
    const auto given = given_.find(name);
    if (given != given_.end()) return given->second;
    return find_global(name);
  }

  Value evaluate(const Expression& expression, Scope& scope) {
    context_.step();
    const Context::Level level(context_);
    const int line = std::exchange(context_.line, expression.line);
    Value value =
        std::visit([&](const auto& form) { return value_of(form, scope); }, expression.form);
    context_.line = line;
    return value;
  }

  Value evaluate_or_none(const ExpressionPtr& expression, Scope& scope) {
    return expression ? evaluate(*expression, scope) : None{};
  }

  std::vector<Value> evaluate_all(const std::vector<ExpressionPtr>& expressions, Scope& scope) {
    std::vector<Value> values;
    for (const auto& one : expressions) values.push_back(evaluate(*one, scope));
    return values;
  }

  Arguments evaluate_arguments(const CallArguments& given, Scope& scope) {
    Arguments arguments;
    arguments.positional = evaluate_all(given.positional, scope);
    for (const auto& [name, value] : given.named) {
      arguments.named.emplace_back(name, evaluate(*value, scope));
    }
    return arguments;
  }

  Value value_of(const Constant& form, Scope&) { return form.value; }
  Value value_of(const Name& form, Scope& scope) {
    Value found = look_up(form.name, scope);
    // A name outlives the tree in no message: the one of the tree is taken.
    return is_undefined(found) ? Undefined{form.name} : std::move(found);
  }

  Value value_of(const ListDisplay& form, Scope& scope) {
    return make_list(context_, evaluate_all(form.items, scope), form.kind);
  }

  Value value_of(const DictDisplay& form, Scope& scope) {
    Dict dict;
    for (const auto& [key_form, value_form] : form.entries) {
      Value key = evaluate(*key_form, scope);
      Value value = evaluate(*value_form, scope);
      const Value* known = find_key(context_, dict, key);
      if (known != nullptr) *const_cast<Value*>(known) = std::move(value);
      else dict.entries.emplace_back(std::move(key), std::move(value));
    }
    return make_dict(context_, std::move(dict.entries));
  }

  Value value_of(const Attribute& form, Scope& scope) {
    return attribute(context_, evaluate(*form.object, scope), form.name);
  }

  Value value_of(const Subscript& form, Scope& scope) {
    const Value object = evaluate(*form.object, scope);
    return element(context_, object, evaluate(*form.key, scope));
  }

  Value value_of(const Slice& form, Scope& scope) {
    const Value object = evaluate(*form.object, scope);
    return slice(context_, object,
                 {.begin = evaluate_or_none(form.begin, scope),
                  .end = evaluate_or_none(form.end, scope),
                  .step = evaluate_or_none(form.step, scope)});
  }

  Value value_of(const Call& form, Scope& scope) {
    const Value function = evaluate(*form.function, scope);
    const auto* called = std::get_if<FunctionPtr>(&function);
    if (called == nullptr) context_.fail(describe(function) + " cannot be called");
    return (*called)->call(context_, evaluate_arguments(form.arguments, scope));
  }

  // expression is a filter, or several: the innermost takes value as its input.
  Value filtered(const Expression& expression, const Value& value, Scope& scope) {
    const Context::Level level(context_);
    const auto& form = std::get<Filtered>(expression.form);
    return apply(form, form.input ? filtered(*form.input, value, scope) : value, scope);
  }

  Value apply(const Filtered& form, const Value& input, Scope& scope) {
    if (form.filter == nullptr) context_.fail("there is no filter \"" + form.name + "\" here");
    return form.filter(context_, input, evaluate_arguments(form.arguments, scope));
  }

  Value value_of(const Filtered& form, Scope& scope) {
    return apply(form, evaluate(*form.input, scope), scope);
  }

  Value value_of(const Tested& form, Scope& scope) {
    const Value input = evaluate(*form.input, scope);
    if (form.predicate == nullptr) context_.fail("there is no test \"" + form.name + "\" here");
    return form.predicate(context_, input, evaluate_arguments(form.arguments, scope));
  }

  Value value_of(const Negation& form, Scope& scope) {
    return !is_true(evaluate(*form.operand, scope));
  }

  Value value_of(const Signed& form, Scope& scope) {
    const Value operand = evaluate(*form.operand, scope);
    if (form.is_minus) return negative(context_, operand);
    if (!is_number(operand)) context_.fail("+ does not go with " + describe(operand));
    return is_integer(operand) ? Value(integer_of(operand)) : operand;
  }

  Value value_of(const Arithmetic& form, Scope& scope) {
    Value value = evaluate(*form.first, scope);
    for (const auto& [op, operand] : form.rest) {
      value = calculate(context_, value, op, evaluate(*operand, scope));
    }
    return value;
  }

  Value value_of(const Concatenation& form, Scope& scope) {
    Text out;
    for (const auto& part : form.parts) append_text(context_, evaluate(*part, scope), out);
    return make_text(context_, std::move(out));
  }

  Value value_of(const Comparison& form, Scope& scope) {
    Value left = evaluate(*form.first, scope);
    for (const auto& [relation, operand] : form.rest) {
      Value right = evaluate(*operand, scope);
      if (!holds(context_, left, relation, right)) return false;
      left = std::move(right);
    }
    return true;
  }

  Value value_of(const Logic& form, Scope& scope) {
    Value value;
    for (const auto& operand : form.operands) {
      value = evaluate(*operand, scope);
      if (is_true(value) != form.is_and) break;
    }
    return value;
  }

  Value value_of(const Choice& form, Scope& scope) {
    if (is_true(evaluate(*form.condition, scope))) return evaluate(*form.then, scope);
    return form.otherwise ? evaluate(*form.otherwise, scope) : Undefined{};
  }

  Context& context_;
  const std::map<std::string, Value, std::less<>>& given_;
  Scope root_;
  std::vector<std::unique_ptr<Scope>> kept_;
};

}  // namespace

Text interpret(Context& context, const Block& body,
               const std::map<std::string, Value, std::less<>>& variables) {
  return Interpreter(context, variables).run(body);
}

}  // namespace tristill::jinja
