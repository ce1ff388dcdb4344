#include "server/access/gate.h"

#include <string>

#include "server/http/error.h"

namespace tristill::access {
namespace {

using std::chrono::milliseconds;

// The secret that was sent, empty when there is none.
std::string secret_of(const http::RequestHead& head) {
  constexpr std::string_view kBearer = "bearer ";
  const std::string authorization = head.header("authorization");
  if (!authorization.empty()) {
    const bool is_bearer = http::lower_case(authorization.substr(0, kBearer.size())) == kBearer;
    return is_bearer ? authorization.substr(kBearer.size()) : "";
  }
  const std::string named = head.header("x-api-key");
  return named.empty() ? head.header("api-key") : named;
}

http::Response unknown_key(bool is_missing) {
  return http::error_response(
      401, "",
      std::string(is_missing ? "no API key was sent" : "the API key is unknown or has expired") +
          "; send Authorization: Bearer KEY",
      "", is_missing ? "missing_api_key" : "invalid_api_key");
}

http::Response lacks_scope(const Key& key, const Need& need, std::string_view path) {
  std::string has;
  for (const Scope scope : key.scopes)
    has += (has.empty() ? "" : ", ") + std::string(to_string(scope));
  return http::error_response(403, "permission_error",
                              std::string(path) + " needs a key with the scope " +
                                  std::string(to_string(need.scope)) + "; the key " + key.id +
                                  " has " + has,
                              "", "missing_scope");
}

// "1.5s", "6m0s": as OpenAI writes it.
std::string spelled(milliseconds time) {
  const int64_t minutes = time.count() / 60000;
  const int64_t rest = time.count() % 60000;
  std::string seconds = std::to_string(rest / 1000);
  if (rest % 1000 != 0 && minutes == 0)
    seconds += "." + std::to_string(1000 + rest % 1000).substr(1);
  return (minutes > 0 ? std::to_string(minutes) + "m" : "") + seconds + "s";
}

void tell(const char* what, const std::optional<Limits::Level>& level,
          std::map<std::string, std::string>& headers) {
  if (!level) return;
  const auto name = [&](const char* part) {
    return "x-ratelimit-" + std::string(part) + "-" + what;
  };
  headers[name("limit")] = std::to_string(level->limit);
  headers[name("remaining")] = std::to_string(level->remaining);
  headers[name("reset")] = spelled(level->full_in);
}

http::Response too_many(const Limits::Admission& admission) {
  http::Response response =
      http::error_response(429, "",
                           "this key's limit of " + admission.refused_by +
                               " a minute is used up; come again in " + spelled(admission.wait),
                           "", "rate_limit_exceeded");
  http::set_retry_after(response, admission.wait);
  return response;
}

http::Verdict judge(KeyStore& keys, const http::RequestHead& head) {
  http::Verdict verdict;
  const Need need = need_of(head.method, head.path);
  if (need.kind == Need::Kind::nothing || keys.is_open()) return verdict;
  const std::string secret = secret_of(head);
  const auto key = keys.find(secret);
  if (!key) {
    verdict.refusal = unknown_key(secret.empty());
    return verdict;
  }
  verdict.key_id = key->id;
  if (need.kind == Need::Kind::scope && !key->scopes.contains(need.scope)) {
    verdict.refusal = lacks_scope(*key, need, head.path);
    return verdict;
  }
  const bool computes =
      need.kind == Need::Kind::scope && need.scope == Scope::infer && head.method == "POST";
  const auto admission = keys.limits().admit(key->id, key->rates, computes);
  tell("requests", admission.requests, verdict.headers);
  tell("tokens", admission.tokens, verdict.headers);
  if (!admission.refused_by.empty()) verdict.refusal = too_many(admission);
  return verdict;
}

}  // namespace

http::Gate make_gate(KeyStore& keys) {
  return [&keys](const http::RequestHead& head) { return judge(keys, head); };
}

}  // namespace tristill::access
