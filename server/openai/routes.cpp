#include "server/openai/routes.h"

#include "server/openai/chat.h"
#include "server/openai/completions.h"
#include "server/openai/embeddings.h"
#include "server/openai/score.h"
#include "server/openai/template_routes.h"
#include "server/openai/tokens.h"

namespace tristill::openai {

void add_routes(http::Router& router, Services& services) {
  add_completion_routes(router, services);
  add_chat_routes(router, services);
  add_embedding_routes(router, services);
  add_score_routes(router, services);
  add_token_routes(router, services.registry);
  add_template_routes(router, services.registry);
}

}  // namespace tristill::openai
