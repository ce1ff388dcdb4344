// GET /keys, POST /keys, DELETE /keys/{id}.
#pragma once

#include "server/access/key_store.h"
#include "server/http/router.h"

namespace tristill::access {

void add_routes(http::Router& router, KeyStore& keys);

}  // namespace tristill::access
