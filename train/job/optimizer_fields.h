// JSON of OptimizerSpec and HealthSpec, both ways. For train/job/spec.cpp. Pure; any thread.
#pragma once

#include <nlohmann/json.hpp>

#include "train/job/fields.h"
#include "train/job/optimizer_spec.h"

namespace tristill::job {

// Refuses values out of range, and fields that belong to another choice than the one made.
void read_optimizer(Fields& fields, OptimizerSpec& optimizer);
void read_health(Fields& fields, HealthSpec& health);

// What no field says alone: settings that contradict each other, or a job in full precision.
Result<void> check_optimizer(const OptimizerSpec& optimizer, bool quantized);

// Defaults filled in; fields of choices that were not made are left out.
nlohmann::json optimizer_json(const OptimizerSpec& optimizer);
nlohmann::json health_json(const HealthSpec& health);

}  // namespace tristill::job
