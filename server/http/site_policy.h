// SitePolicy: which names this server answers to, and which other sites' pages may use it. Against
// DNS rebinding (a stranger's name made to point here) and cross-site requests; CORS for the
// origins that are allowed (Fetch standard, section 3.3). Knows no key. Immutable; any thread.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "server/http/message.h"
#include "server/http/request_head.h"

namespace tristill::http {

struct SiteOptions {
  // Values of Host, without the port, that are answered besides those of the loopback interface.
  std::vector<std::string> allowed_hosts;
  // "https://ide.example" exactly; "localhost": any origin of this machine; "*": any at all.
  std::vector<std::string> cors_origins;
};

class SitePolicy {
 public:
  // is_loopback: only the loopback interface is listened on, so that nothing but its own names is
  // to be believed. is_unix: no browser comes, and Host says nothing.
  SitePolicy(SiteOptions options, bool is_loopback, bool is_unix);
  // Errors: invalid_argument, naming the setting and the entry.
  static Result<void> check(const SiteOptions& options);

  // 421 for a foreign Host, 403 for a change that another site's page asks for.
  std::optional<Response> refusal_of(const RequestHead& head) const;
  // What a browser asks before a request of another site: answered without a key.
  static bool is_preflight(const RequestHead& head);
  Response preflight_answer(const RequestHead& head) const;
  // Adds what lets an allowed origin's page read the answer.
  void mark(const RequestHead& head, std::map<std::string, std::string>& headers) const;

 private:
  bool is_known_host(const RequestHead& head) const;
  bool is_allowed_origin(const std::string& origin) const;

  const SiteOptions options_;
  const bool is_loopback_;
  const bool is_unix_;
};

}  // namespace tristill::http
