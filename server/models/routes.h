// /v1/models: what is served, and adding and removing models while the others serve. A file is
// loaded on the thread of the request that asks for it: nobody else waits.
#pragma once

#include "server/http/router.h"
#include "server/models/model_files.h"
#include "server/models/registry.h"

namespace tristill::models {

// GET /v1/models and /v1/models/{id}.
void add_routes(http::Router& router, const Registry& registry);

// POST /models, DELETE /models/{name} and DELETE /v1/models/{id}.
void add_change_routes(http::Router& router, const Registry& registry, ModelFiles& files);

}  // namespace tristill::models
