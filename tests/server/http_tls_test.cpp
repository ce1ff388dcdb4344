#include "server/http/tls.h"

#include <signal.h>

#include <fstream>

#include "tests/support/certificate.h"
#include "tests/support/echo_server.h"
#include "tests/support/job_fixture.h"

namespace tristill::http {
namespace {

using tests::Certificate;
using tests::EchoServer;
using tests::get;
using tests::post;
using tests::RawClient;
using tests::TlsClient;
using tests::until;

class HttpTls : public ::testing::Test {
 protected:
  HttpTls() { ::signal(SIGPIPE, SIG_IGN); }  // of the test's own client

  ListenerOptions options() const {
    ListenerOptions options;
    options.tls = {first_.certificate_file(), first_.key_file(), ""};
    options.limits.linger_time = std::chrono::milliseconds(1000);
    return options;
  }
  std::string damaged() const {
    const std::string path = (folder_.path() / "damaged.pem").string();
    std::ofstream(path) << "-----BEGIN CERTIFICATE-----\nno\n";
    return path;
  }

  tests::TemporaryFolder folder_;
  Certificate first_{folder_.path(), "first"};
  Certificate second_{folder_.path(), "second"};
};

TEST_F(HttpTls, AnswersOnOneConnectionAgainAndAgain) {
  EchoServer server(options());
  EXPECT_EQ(server.url(), "https://127.0.0.1:" + std::to_string(server.port()));
  TlsClient client(server.port(), {.trusts = &first_});
  ASSERT_TRUE(client.connected());
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(client.ask(get("/hello")).ends_with("\r\n\r\nhello"));
  const std::string large(900000, 'y');
  EXPECT_TRUE(client.ask(post("/echo", large)).ends_with(large));
  EXPECT_TRUE(client.ask(get("/big")).ends_with(std::string(1 << 20, 'x')));
}

TEST_F(HttpTls, SpeaksTls12And13AndNothingOlder) {
  EchoServer server(options());
  EXPECT_FALSE(TlsClient(server.port(), {.version = TLS1_1_VERSION}).connected());
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    TlsClient client(server.port(), {.version = version});
    EXPECT_TRUE(client.ask(get("/hello")).ends_with("hello")) << version;
  }
}

TEST_F(HttpTls, PlainHttpIsToldToSpeakHttps) {
  EchoServer server(options());
  RawClient client(server.port());
  const auto answer = client.ask(get("/hello"));
  EXPECT_EQ(answer.status, 400);
  EXPECT_NE(answer.body.find("https://"), std::string::npos) << answer.body;
}

TEST_F(HttpTls, AHandshakeThatStallsIsCutOffAndBlocksNobody) {
  auto limits = options();
  limits.limits.handshake_time = std::chrono::milliseconds(100);
  EchoServer server(limits);
  RawClient silent(server.port()), begun(server.port()), nonsense(server.port());
  begun.send(std::string_view("\x16\x03\x01\x02\x00\x01", 6));
  nonsense.send(std::string_view("\x80\x01\x00", 3));
  EXPECT_TRUE(TlsClient(server.port(), {}).ask(get("/hello")).ends_with("hello"));
  EXPECT_TRUE(silent.is_at_end());
  EXPECT_TRUE(begun.is_at_end());
  begun.close();
}

TEST_F(HttpTls, AClientThatLeavesIsNoticedWithoutAnyWrite) {
  EchoServer server(options());
  for (int i = 1; i <= 5; ++i) {
    TlsClient client(server.port(), {});
    client.send(post("/wait", "{}"));
    ASSERT_TRUE(until([&] { return server.waiting == i; }));
    client.close();
    ASSERT_TRUE(until([&] { return server.left == i; }));
  }
}

TEST_F(HttpTls, WithoutAClientCertificateNobodyIsHeardWhenOneIsAskedFor) {
  const Certificate friendly(folder_.path(), "friendly", &first_);
  const Certificate stranger(folder_.path(), "stranger", &second_);
  auto guarded = options();
  guarded.tls.client_ca = first_.certificate_file();
  EchoServer server(guarded);
  EXPECT_EQ(TlsClient(server.port(), {}).ask(get("/hello")), "");
  EXPECT_EQ(TlsClient(server.port(), {.shows = &stranger}).ask(get("/hello")), "");
  EXPECT_TRUE(TlsClient(server.port(), {.shows = &friendly}).ask(get("/hello")).ends_with("hello"));
}

TEST_F(HttpTls, ReloadTakesNewCertificatesAndKeepsConnections) {
  const std::string certificate = (folder_.path() / "served.pem").string();
  const std::string key = (folder_.path() / "served.key").string();
  const auto copy = [](const std::string& from, const std::string& to) {
    std::filesystem::copy_file(from, to, std::filesystem::copy_options::overwrite_existing);
  };
  copy(first_.certificate_file(), certificate);
  copy(first_.key_file(), key);
  auto served = options();
  served.tls = {certificate, key, ""};
  EchoServer server(served);
  TlsClient before(server.port(), {.trusts = &first_});
  EXPECT_TRUE(before.ask(get("/hello")).ends_with("hello"));

  copy(second_.certificate_file(), certificate);  // and not yet its key
  EXPECT_FALSE(server.listener().reload());
  EXPECT_TRUE(TlsClient(server.port(), {.trusts = &first_}).connected());

  copy(second_.key_file(), key);
  ASSERT_TRUE(server.listener().reload());
  EXPECT_TRUE(TlsClient(server.port(), {.trusts = &second_}).connected());
  EXPECT_FALSE(TlsClient(server.port(), {.trusts = &first_}).connected());
  EXPECT_TRUE(before.ask(get("/hello")).ends_with("hello"));
}

TEST_F(HttpTls, WrongFilesAreNamedWithTheirSetting) {
  const std::string good = first_.certificate_file(), key = first_.key_file();
  const std::vector<std::pair<TlsFiles, std::string>> wrong = {
      {{good, "", ""}, "tls_key"},
      {{"", key, ""}, "tls_cert"},
      {{"", "", good}, "tls_cert"},
      {{"/nowhere.pem", key, ""}, "tls_cert"},
      {{damaged(), key, ""}, "tls_cert"},
      {{good, good, ""}, "tls_key"},
      {{good, second_.key_file(), ""}, "tls_key"},
      {{good, key, "/nowhere.pem"}, "tls_client_ca"},
      {{good, key, key}, "tls_client_ca"},
  };
  for (const auto& [files, setting] : wrong) {
    auto bad = options();
    bad.tls = files;
    const EchoServer server(bad);
    EXPECT_EQ(server.error().param, setting) << server.error().message;
    EXPECT_NE(server.error().message.find(setting), std::string::npos) << server.error().message;
  }
}

TEST_F(HttpTls, StopEndsIdleConnectionsAndHandshakes) {
  EchoServer server(options());
  TlsClient idle(server.port(), {});
  RawClient shaking(server.port());
  EXPECT_TRUE(idle.ask(get("/hello")).ends_with("hello"));
  server.stop();
  EXPECT_EQ(idle.read_answer(), "");
  EXPECT_EQ(shaking.read_answer().status, 0);  // at most an alert of TLS
}

}  // namespace
}  // namespace tristill::http
