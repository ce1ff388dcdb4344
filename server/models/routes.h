// GET /v1/models and GET /v1/models/{id}.
#pragma once

#include "server/http/router.h"
#include "server/models/registry.h"

namespace tristill::models {

void add_routes(http::Router& router, const Registry& registry);

}  // namespace tristill::models
