#include "server/http/site_policy.h"

#include "tests/support/echo_server.h"
#include "tests/support/raw_client.h"

namespace tristill::http {
namespace {

using tests::EchoServer;
using tests::RawClient;

constexpr const char* kIde = "https://ide.example";

RequestHead head(const std::string& method, const std::string& host,
                 const std::string& origin = "") {
  RequestHead head;
  head.method = method;
  head.version = "HTTP/1.1";
  head.headers["host"] = host;
  if (!origin.empty()) head.headers["origin"] = origin;
  return head;
}

int status(const SitePolicy& policy, const RequestHead& request) {
  const auto refusal = policy.refusal_of(request);
  return refusal ? refusal->status : 0;
}

std::string shown_to(const SitePolicy& policy, const std::string& origin) {
  std::map<std::string, std::string> headers;
  policy.mark(head("GET", "localhost", origin), headers);
  return headers["Access-Control-Allow-Origin"];
}

TEST(SitePolicy, OnLoopbackOnlyItsOwnNamesAreAnsweredTo) {
  const SitePolicy policy({.allowed_hosts = {"box.lan"}}, true, false);
  for (const char* host : {"localhost", "localhost:8080", "LOCALHOST", "127.0.0.1:1", "[::1]",
                           "[::1]:8080", "box.lan", "box.lan:443"}) {
    EXPECT_EQ(status(policy, head("GET", host)), 0) << host;
  }
  for (const char* host : {"evil.example", "localhost.evil.example", "evil.example:8080", "",
                           "127.0.0.1.nip.io", "localhost:x", "localhost:8080:9", "[::1", "[::1]x",
                           "localhost@evil.example", "box.lan.", "localhost:999999"}) {
    EXPECT_EQ(status(policy, head("GET", host)), 421) << host;
  }
}

TEST(SitePolicy, ElsewhereTheAllowedNamesHoldAndWithoutThemAny) {
  const SitePolicy any({}, false, false);
  EXPECT_EQ(status(any, head("GET", "whatever.example")), 0);
  const SitePolicy some({.allowed_hosts = {"api.example"}}, false, false);
  EXPECT_EQ(status(some, head("GET", "api.example:8443")), 0);
  EXPECT_EQ(status(some, head("GET", "whatever.example")), 421);
  const SitePolicy unix_socket({}, true, true);
  EXPECT_EQ(status(unix_socket, head("GET", "whatever")), 0);
}

TEST(SitePolicy, PagesOfOtherSitesChangeNothingUnlessTheyAreAllowed) {
  const SitePolicy closed({}, true, false);
  EXPECT_EQ(status(closed, head("POST", "localhost", kIde)), 403);
  EXPECT_EQ(status(closed, head("DELETE", "localhost", "null")), 403);
  EXPECT_EQ(status(closed, head("GET", "localhost", kIde)), 0);  // which they cannot read
  EXPECT_EQ(status(closed, head("POST", "localhost", "http://localhost:3000")), 0);
  const SitePolicy open({.cors_origins = {kIde}}, true, false);
  EXPECT_EQ(status(open, head("POST", "localhost", kIde)), 0);
  EXPECT_EQ(status(open, head("POST", "localhost", "https://ide.example:444")), 403);
  EXPECT_EQ(status(open, head("POST", "localhost", "http://ide.example")), 403);
}

TEST(SitePolicy, OnlyAllowedOriginsMayReadAnswers) {
  EXPECT_EQ(shown_to(SitePolicy({}, true, false), "http://localhost:3000"), "");
  const SitePolicy exact({.cors_origins = {kIde}}, true, false);
  EXPECT_EQ(shown_to(exact, kIde), kIde);
  EXPECT_EQ(shown_to(exact, "https://other.example"), "");
  EXPECT_EQ(shown_to(exact, ""), "");
  const SitePolicy local({.cors_origins = {"localhost"}}, true, false);
  EXPECT_EQ(shown_to(local, "http://127.0.0.1:3000"), "http://127.0.0.1:3000");
  EXPECT_EQ(shown_to(local, "http://localhost.evil.example"), "");
  EXPECT_EQ(shown_to(SitePolicy({.cors_origins = {"*"}}, true, false), kIde), "*");
}

TEST(SitePolicy, EntriesThatCannotMatchAreRefused) {
  for (const char* origin : {"", "ide.example", "https://", "null", "ftp://x", "https://a/b"}) {
    const auto checked = SitePolicy::check({.cors_origins = {origin}});
    EXPECT_EQ(checked ? "" : checked.error().param, "cors_origins") << origin;
  }
  for (const char* host : {"", "BOX.lan", "box.lan:80", "[::1"}) {
    const auto checked = SitePolicy::check({.allowed_hosts = {host}});
    EXPECT_EQ(checked ? "" : checked.error().param, "allowed_hosts") << host;
  }
  EXPECT_TRUE(SitePolicy::check({{"box.lan", "[::2]"}, {kIde, "localhost", "*"}}));
}

class HttpSites : public ::testing::Test {
 protected:
  static ListenerOptions options() {
    ListenerOptions options;
    options.sites.cors_origins = {kIde};
    options.limits.linger_time = std::chrono::milliseconds(1000);
    options.gate = [](const RequestHead& request) {
      Verdict verdict;
      if (request.header("x-api-key") != "k") {
        verdict.refusal = Response{.status = 401, .body = "{}"};
      }
      return verdict;
    };
    return options;
  }
  static std::string preflight(const std::string& origin, const std::string& more = "") {
    return "OPTIONS /hello HTTP/1.1\r\nHost: localhost\r\nOrigin: " + origin +
           "\r\nAccess-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: "
           "authorization, content-type\r\n" +
           more + "\r\n";
  }
};

TEST_F(HttpSites, PreflightsAreAnsweredWithoutAKey) {
  EchoServer server(options());
  RawClient client(server.port());
  const auto answer = client.ask(preflight(kIde));
  EXPECT_EQ(answer.status, 204);
  EXPECT_TRUE(answer.has("access-control-allow-origin: https://ide.example\r\n"));
  EXPECT_TRUE(answer.has("access-control-allow-headers: authorization, content-type\r\n"));
  EXPECT_TRUE(answer.has("access-control-allow-methods: "));
  EXPECT_TRUE(answer.has("vary: Origin\r\n"));
  EXPECT_FALSE(answer.has("access-control-allow-credentials"));
  const auto network =
      client.ask(preflight(kIde, "Access-Control-Request-Private-Network: true\r\n"));
  EXPECT_TRUE(network.has("access-control-allow-private-network: true"));
  EXPECT_FALSE(RawClient(server.port()).ask(preflight("https://o.example")).has("access-control"));
}

TEST_F(HttpSites, APreflightCannotCarryABodyPastTheGate) {
  EchoServer server(options());
  EXPECT_EQ(RawClient(server.port()).ask(preflight(kIde, "Content-Length: 9\r\n")).status, 401);
}

TEST_F(HttpSites, AnswersAndRefusalsCanBeReadByAllowedPages) {
  EchoServer server(options());
  const std::string origin = std::string("Origin: ") + kIde + "\r\n";
  const auto refused = RawClient(server.port()).ask(tests::get("/hello", origin));
  EXPECT_EQ(refused.status, 401);
  const auto answer =
      RawClient(server.port()).ask(tests::get("/hello", origin + "X-Api-Key: k\r\n"));
  EXPECT_EQ(answer.status, 200);
  for (const auto& one : {refused, answer}) {
    EXPECT_TRUE(one.has("access-control-allow-origin: https://ide.example\r\n"));
    EXPECT_TRUE(one.has("access-control-expose-headers: x-request-id,"));
  }
  const auto plain = RawClient(server.port()).ask(tests::get("/hello", "X-Api-Key: k\r\n"));
  EXPECT_TRUE(plain.has("vary: Origin\r\n"));
  EXPECT_FALSE(plain.has("access-control"));
}

TEST_F(HttpSites, ARebindingNameIsRefusedBeforeTheGate) {
  EchoServer server(options());
  const auto answer =
      RawClient(server.port()).ask("GET /hello HTTP/1.1\r\nHost: evil.example:80\r\n\r\n");
  EXPECT_EQ(answer.status, 421);
  EXPECT_NE(answer.body.find("allowed_hosts"), std::string::npos) << answer.body;
}

}  // namespace
}  // namespace tristill::http
