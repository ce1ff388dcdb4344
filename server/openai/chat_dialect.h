// ChatDialect: answers with a message, streams of deltas: POST /v1/chat/completions, and
// POST /fim/completions as Mistral has it.
#pragma once

#include <set>

#include "server/openai/respond.h"

namespace tristill::openai {

class ChatDialect final : public Dialect {
 public:
  nlohmann::json answer(Completion& completion) override;
  std::vector<nlohmann::json> events(Completion& completion, Choice& choice) override;
  nlohmann::json last_event(Completion& completion) override;

 private:
  nlohmann::json chunk(const Completion& completion, const Choice& choice, nlohmann::json delta);

  std::set<uint32_t> introduced_;  // choices whose role was said
};

}  // namespace tristill::openai
