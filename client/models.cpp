// tristill models and tristill health.
#include "client/commands.h"
#include "client/fields.h"

namespace tristill::client {
namespace {

ExitCode list_models(Session& session) {
  const Json answer = session.api.get("/v1/models");
  if (session.out.json()) {
    session.out.object(answer);
    return kExitOk;
  }
  std::vector<std::vector<std::string>> rows;
  for (const Json& model : list_of(answer, "data")) {
    const std::optional<uint64_t> context = count_of(model, "max_model_len");
    rows.push_back({text_of(model, "id"), context ? std::to_string(*context) : "",
                    text_of(model, "owned_by"), format_time(time_of(model, "created"))});
  }
  session.out.text(rows.empty() ? "no models are served\n"
                                : format_table({"MODEL", "CONTEXT", "OWNER", "CREATED"}, rows));
  return kExitOk;
}

ExitCode show_health(Session& session) {
  const Json answer = session.api.get("/health");
  if (session.out.json()) {
    session.out.object(answer);
  } else {
    session.out.text(session.api.server() + " " + printable(text_of(answer, "status")) + "\n");
  }
  return kExitOk;
}

}  // namespace

void add_models_commands(CLI::App& app, Plan& plan) {
  app.add_subcommand("models", "List the models that are served")->callback([&plan] {
    plan.action = list_models;
  });
  app.add_subcommand("health", "Ask whether the daemon answers")->callback([&plan] {
    plan.action = show_health;
  });
}

}  // namespace tristill::client
