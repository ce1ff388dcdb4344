#include "train/job/budget_spec.h"

#include "train/job/fields.h"

namespace tristill::job {

using nlohmann::json;

void read_budget(Fields& fields, BudgetSpec& budget) {
  if (fields.has("max_steps"))
    fields.whole("max_steps", 1, int64_t{1} << 40, budget.max_steps.emplace());
  if (fields.has("max_tokens"))
    fields.whole("max_tokens", 1, int64_t{1} << 50, budget.max_tokens.emplace());
  if (fields.has("max_seconds"))
    fields.real("max_seconds", 0.1, kMaxSeconds, budget.max_seconds.emplace());
}

json budget_json(const BudgetSpec& budget) {
  json out = json::object();
  if (budget.max_steps) out["max_steps"] = *budget.max_steps;
  if (budget.max_tokens) out["max_tokens"] = *budget.max_tokens;
  if (budget.max_seconds) out["max_seconds"] = *budget.max_seconds;
  return out;
}

}  // namespace tristill::job
