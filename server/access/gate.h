// Who may send a request: its key, the key's scopes and its limits, decided by the head alone. For
// http::ListenerOptions::gate. Any thread.
#pragma once

#include "server/access/key_store.h"
#include "server/http/listener.h"

namespace tristill::access {

// Lets everything pass while no key exists. The key comes as Authorization: Bearer KEY, X-Api-Key
// or api-key. Refuses with 401 without a key that is known, 403 without the route's scope, 429
// beyond the key's limits. keys outlives the gate.
http::Gate make_gate(KeyStore& keys);

}  // namespace tristill::access
