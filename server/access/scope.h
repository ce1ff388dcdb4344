// Scopes: what a key may be used for, and which one each route asks for. The one place that says
// so. Pure; any thread.
#pragma once

#include <array>
#include <optional>
#include <set>
#include <string_view>

namespace tristill::access {

// Each stands for itself: admin does not include the others.
enum class Scope {
  infer,  // text from models
  train,  // jobs, traces and files
  admin,  // keys, models and the daemon
};

inline constexpr std::array kScopes = {Scope::infer, Scope::train, Scope::admin};
using Scopes = std::set<Scope>;

std::string_view to_string(Scope scope);
std::optional<Scope> scope_of(std::string_view name);

// What a request must show once a key exists.
struct Need {
  enum class Kind {
    nothing,  // who watches the daemon
    any_key,
    scope,
  } kind = Kind::scope;
  Scope scope = Scope::admin;
  bool is_listed = false;  // false: no rule names the route, and admin is asked for
};

// path: decoded and without a query, or a route's pattern ("/jobs/{id}"). HEAD is as GET.
Need need_of(std::string_view method, std::string_view path);

}  // namespace tristill::access
