#include "server/access/scope.h"

#include <algorithm>

namespace tristill::access {
namespace {

constexpr Need kNothing = {Need::Kind::nothing, Scope::admin, true};
constexpr Need kAnyKey = {Need::Kind::any_key, Scope::admin, true};
constexpr Need kInfer = {Need::Kind::scope, Scope::infer, true};
constexpr Need kTrain = {Need::Kind::scope, Scope::train, true};
constexpr Need kAdmin = {Need::Kind::scope, Scope::admin, true};

struct Rule {
  std::string_view method;  // empty: all
  std::string_view path;    // also what is below it, where below is true
  bool below;
  Need need;
};

// The first that fits holds. What none fits needs admin.
constexpr Rule kRules[] = {
    {"GET", "/livez", false, kNothing},
    {"GET", "/readyz", false, kNothing},
    {"GET", "/health", false, kNothing},
    {"GET", "/v1/health", false, kNothing},

    {"GET", "/", false, kAnyKey},
    {"GET", "/openapi.yaml", false, kAnyKey},
    {"GET", "/metrics", false, kAnyKey},

    {"", "/keys", true, kAdmin},
    {"", "/debug", true, kAdmin},

    {"", "/jobs", true, kTrain},
    {"", "/traces", true, kTrain},
    {"", "/v1/fine_tuning", true, kTrain},
    {"", "/v1/files", true, kTrain},

    // Looking at what is served is part of using it; changing it is not.
    {"GET", "/models", true, kInfer},
    {"", "/models", true, kAdmin},
    {"GET", "/v1/models", true, kInfer},
    {"", "/v1/models", true, kAdmin},
    {"GET", "/props", false, kInfer},
    {"GET", "/slots", false, kInfer},
    {"GET", "/version", false, kInfer},
    {"GET", "/tokenizer_info", false, kInfer},

    {"", "/v1", true, kInfer},
    {"", "/completion", false, kInfer},
    {"", "/completions", false, kInfer},
    {"", "/chat", true, kInfer},
    {"", "/infill", false, kInfer},
    {"", "/fim", true, kInfer},
    {"", "/beta", true, kInfer},
    {"", "/score", false, kInfer},
    {"", "/embedding", false, kInfer},
    {"", "/embeddings", false, kInfer},
    {"", "/tokenize", false, kInfer},
    {"", "/detokenize", false, kInfer},
    {"", "/apply-template", false, kInfer},
};

bool fits(const Rule& rule, std::string_view method, std::string_view path) {
  if (!rule.method.empty() && rule.method != method) return false;
  if (path == rule.path) return true;
  return rule.below && path.starts_with(rule.path) && path[rule.path.size()] == '/';
}

}  // namespace

std::string_view to_string(Scope scope) {
  switch (scope) {
    case Scope::infer: return "infer";
    case Scope::train: return "train";
    case Scope::admin: return "admin";
  }
  return "";
}

std::optional<Scope> scope_of(std::string_view name) {
  for (const Scope scope : kScopes) {
    if (to_string(scope) == name) return scope;
  }
  return std::nullopt;
}

Need need_of(std::string_view method, std::string_view path) {
  if (method == "HEAD") method = "GET";
  const auto* rule = std::find_if(std::begin(kRules), std::end(kRules),
                                  [&](const Rule& r) { return fits(r, method, path); });
  return rule == std::end(kRules) ? Need{} : rule->need;
}

}  // namespace tristill::access
