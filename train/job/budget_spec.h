// When a job ends: the object "budget" of the specification, in JSON and as a struct. Pure; any
// thread.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>

namespace tristill::job {

class Fields;

// Whichever is reached first.
struct BudgetSpec {
  std::optional<uint64_t> max_steps, max_tokens;
  std::optional<double> max_seconds;
};

inline constexpr double kMaxSeconds = 3.2e7;  // a year

void read_budget(Fields& fields, BudgetSpec& budget);
nlohmann::json budget_json(const BudgetSpec& budget);

}  // namespace tristill::job
