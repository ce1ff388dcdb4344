// tristill keys: list, create, revoke.
#include <optional>

#include "client/commands.h"
#include "client/duration.h"
#include "client/fields.h"

namespace tristill::client {
namespace {

std::string scopes_text(const Json& key) {
  std::string text;
  for (const Json& scope : list_of(key, "scopes")) {
    if (scope.is_string()) text += (text.empty() ? "" : ",") + scope.get<std::string>();
  }
  return text;
}

// "60 requests, 1.0k tokens", or nothing without limits.
std::string limits_text(const Json& key) {
  std::string text;
  const auto add = [&](const char* field, const char* what) {
    const auto limit = count_of(key, field);
    if (!limit || *limit == 0) return;
    text += (text.empty() ? "" : ", ") + format_count(static_cast<double>(*limit)) + what;
  };
  add("requests_per_minute", " requests");
  add("tokens_per_minute", " tokens");
  return text;
}

ExitCode list_keys(Session& session) {
  const Json answer = session.api.get("/keys");
  if (session.out.json()) {
    session.out.object(answer);
    return kExitOk;
  }
  std::vector<std::vector<std::string>> rows;
  for (const Json& key : list_of(answer, "data")) {
    rows.push_back({text_of(key, "id"), text_of(key, "name"), scopes_text(key),
                    format_time(time_of(key, "created")), format_time(time_of(key, "expires_at")),
                    limits_text(key)});
  }
  session.out.text(
      rows.empty()
          ? "no keys\n"
          : format_table({"ID", "NAME", "SCOPES", "CREATED", "EXPIRES", "A MINUTE"}, rows));
  return kExitOk;
}

struct CreateOptions {
  std::string name, expires;
  std::vector<std::string> scopes;
  std::optional<uint32_t> requests_per_minute, tokens_per_minute;
};

// The secret alone on standard output, so that it can be kept without being seen; what it is for
// on standard error.
ExitCode create_key(Session& session, const CreateOptions& options) {
  require_utf8(options.name, "name");
  Json request = {{"name", options.name}, {"scopes", options.scopes}};
  if (!options.expires.empty()) {
    const auto seconds = parse_duration(options.expires);
    if (!seconds) throw Failure(kExitUsage, "--expires " + seconds.error().message, "expires");
    request["expires_in"] = *seconds;
  }
  if (options.requests_per_minute) request["requests_per_minute"] = *options.requests_per_minute;
  if (options.tokens_per_minute) request["tokens_per_minute"] = *options.tokens_per_minute;
  const Json key = session.api.post("/keys", request);
  if (session.out.json()) {
    session.out.object(key);
    return kExitOk;
  }
  const std::string secret = text_of(key, "key");
  if (secret.empty()) throw Failure(kExitUnavailable, "the daemon's answer holds no key");
  std::fprintf(stderr, "key %s (%s) for %s; this is the only time it is shown:\n",
               printable(text_of(key, "id")).c_str(), printable(text_of(key, "name")).c_str(),
               printable(scopes_text(key)).c_str());
  session.out.text(printable(secret) + "\n");
  return kExitOk;
}

ExitCode revoke_key(Session& session, const std::string& id) {
  const Json answer = session.api.remove("/keys/" + percent_encode(id));
  if (session.out.json()) {
    session.out.object(answer);
  } else {
    session.out.text("revoked " + printable(id) + "\n");
  }
  return kExitOk;
}

}  // namespace

void add_keys_commands(CLI::App& app, Plan& plan) {
  CLI::App* keys = app.add_subcommand("keys", "API keys of the daemon");
  keys->require_subcommand(1);
  keys->fallthrough();
  keys->add_subcommand("list", "List the keys, never their secrets")->callback([&plan] {
    plan.action = list_keys;
  });
  auto options = std::make_shared<CreateOptions>();
  CLI::App* create = keys->add_subcommand("create", "Make a key and print it, this once");
  create->add_option("name", options->name, "What it is for")->required();
  create
      ->add_option("--scope", options->scopes,
                   "What it may do: infer, train or admin; may be repeated")
      ->required()
      ->expected(1)
      ->take_all()
      ->allow_extra_args(false);
  create->add_option("--expires", options->expires, "Ends after this: 12h, 30d, 8w; default: never")
      ->type_name("DURATION");
  create->add_option("--requests-per-minute", options->requests_per_minute,
                     "Most requests; default: no limit");
  create->add_option("--tokens-per-minute", options->tokens_per_minute,
                     "Most tokens of prompts and answers; default: no limit");
  create->callback([options, &plan] {
    plan.action = [options](Session& session) { return create_key(session, *options); };
  });
  auto id = std::make_shared<std::string>();
  CLI::App* revoke = keys->add_subcommand("revoke", "End a key at once");
  revoke->add_option("id", *id, "The key")->required();
  revoke->callback(
      [id, &plan] { plan.action = [id](Session& session) { return revoke_key(session, *id); }; });
}

}  // namespace tristill::client
