// What is known to break servers of this kind, tried on ours. Each attack is made over a real
// socket; what is asked afterwards must still be answered, and memory must not have grown.
#include <fcntl.h>

#include <fstream>

#include "tests/support/echo_server.h"
#include "tests/support/gzipped.h"
#include "tests/support/job_fixture.h"
#include "tests/support/raw_client.h"

namespace tristill::http {
namespace {

using tests::EchoServer;
using tests::get;
using tests::gzipped;
using tests::post;
using tests::RawAnswer;
using tests::RawClient;
using tests::until;

constexpr size_t kMaxBody = 1 << 20;
constexpr size_t kFlood = size_t{128} << 20;   // more than memory may grow by
constexpr size_t kGrowth = size_t{64} << 20;
constexpr const char* kChunked =
    "POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kMemoryIsOurs = false;  // the sanitizer's shadow is in it
#else
constexpr bool kMemoryIsOurs = true;
#endif

// The most memory this process held since begin(); where the kernel does not reset that, what it
// holds now.
class MemoryPeak {
 public:
  void begin() {
    std::ofstream reset("/proc/self/clear_refs");
    field_ = reset << "5" << std::flush ? "VmHWM:" : "VmRSS:";
    before_ = bytes("VmRSS:");
  }
  size_t growth() const {
    const size_t now = bytes(field_);
    return now > before_ ? now - before_ : 0;
  }

 private:
  static size_t bytes(const std::string& field) {
    std::ifstream status("/proc/self/status");
    std::string word;
    size_t kilobytes = 0;
    while (status >> word) {
      if (word == field) status >> kilobytes;
    }
    EXPECT_GT(kilobytes, 0U);
    return kilobytes * 1024;
  }

  std::string field_;
  size_t before_ = 0;
};

class HttpAttacks : public ::testing::Test {
 protected:
  static ListenerOptions options() {
    ListenerOptions options;
    options.limits.body_bytes = kMaxBody;
    options.limits.linger_time = std::chrono::milliseconds(300);
    return options;
  }
  void SetUp() override {
    EXPECT_EQ(healthy(), 200);
    memory_.begin();
  }
  void TearDown() override {
    EXPECT_EQ(healthy(), 200);
    if (kMemoryIsOurs) {
      RecordProperty("memory_growth_kilobytes", static_cast<int>(memory_.growth() / 1024));
      EXPECT_LT(memory_.growth(), kGrowth);
    }
  }
  int healthy() { return RawClient(server_.port()).ask(get("/health")).status; }
  // Sends part again and again until the server takes no more or most bytes are sent.
  static size_t flood(RawClient& client, const std::string& part, size_t most) {
    size_t sent = 0;
    while (sent < most && client.send(part)) sent += part.size();
    return sent;
  }

  EchoServer server_{options()};
  MemoryPeak memory_;
};

TEST_F(HttpAttacks, AChunkedBodyCannotOutgrowTheLimit) {
  RawClient client(server_.port());
  client.send(kChunked);
  const std::string chunk = "10000\r\n" + std::string(65536, 'x') + "\r\n";
  flood(client, chunk, kFlood);
  EXPECT_EQ(client.read_answer().status, 413);
}

TEST_F(HttpAttacks, AnAnnouncedChunkIsNotBelieved) {
  for (const std::string size : {"fffffffffffffff0", "7fffffffffffffff", "40000000"}) {
    RawClient client(server_.port());
    EXPECT_EQ(client.ask(kChunked + size + "\r\nabc").status, 413) << size;
  }
}

TEST_F(HttpAttacks, AGzipBombIsNotUnpacked) {
  const std::string bomb = gzipped(std::string(kFlood, '\0'));
  ASSERT_LT(bomb.size(), kMaxBody);
  memory_.begin();  // making it took memory
  const std::string gzip = "Content-Encoding: gzip\r\n";
  EXPECT_EQ(RawClient(server_.port()).ask(post("/echo", bomb, gzip)).status, 413);
  EXPECT_EQ(RawClient(server_.port()).ask(post("/echo", gzipped(bomb), gzip)).body.size(),
            bomb.size());  // unpacked once
}

TEST_F(HttpAttacks, MembersOfNothingCostNoTime) {
  std::string many;
  const std::string nothing = gzipped("");
  while (many.size() + nothing.size() < kMaxBody) many += nothing;
  const auto answer =
      RawClient(server_.port()).ask(post("/echo", many, "Content-Encoding: gzip\r\n"));
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body, "");
}

TEST_F(HttpAttacks, GzippedBodiesArriveUnpackedAndOthersAreRefused) {
  const auto ask = [&](const std::string& body, const std::string& coding) {
    return RawClient(server_.port())
        .ask(post("/echo", body, "Content-Encoding: " + coding + "\r\n"));
  };
  EXPECT_EQ(ask(gzipped("text"), "gzip").body, "text");
  EXPECT_EQ(ask("text", "identity").body, "text");
  EXPECT_EQ(ask("", "gzip").body, "");
  EXPECT_EQ(ask("text", "gzip").status, 400);
  EXPECT_EQ(ask(gzipped("text").substr(0, 15), "gzip").status, 400);
  for (const char* coding : {"br", "deflate", "zstd", "gzip, gzip", "compress"}) {
    EXPECT_EQ(ask("text", coding).status, 415) << coding;
  }
  RawClient client(server_.port());
  const std::string body = gzipped("ab"), size = std::to_string(body.size());
  client.send(
      "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Encoding: gzip\r\n"
      "Transfer-Encoding: chunked\r\n\r\n");
  client.send("5\r\n" + body.substr(0, 5) + "\r\n");
  std::string rest = body.substr(5);
  constexpr const char* kDigits = "0123456789abcdef";
  std::string hex = {kDigits[rest.size() / 16], kDigits[rest.size() % 16]};
  EXPECT_EQ(client.ask(hex + "\r\n" + rest + "\r\n0\r\n\r\n").body, "ab");
  EXPECT_EQ(client.ask(get("/headers")).status, 200);
}

TEST_F(HttpAttacks, HeadersWithoutEndAreCutOff) {
  const std::string begin = "GET /hello HTTP/1.1\r\nHost: localhost\r\n";
  std::string headers;
  while (headers.size() < 65536) headers += "x-header: 0123456789\r\n";
  for (const auto& [first, then] :
       {std::pair(begin, headers), std::pair(begin + "X: ", std::string(65536, 'a')),
        std::pair(std::string(), std::string(65536, '\n')),
        std::pair(std::string(), std::string(65536, 'G'))}) {
    RawClient client(server_.port());
    client.send(first);
    flood(client, then, kFlood);
    EXPECT_EQ(client.read_answer().status, 431) << then.substr(0, 8);
  }
}

TEST_F(HttpAttacks, SlowHeadsHoldNobodyUp) {
  std::vector<std::unique_ptr<RawClient>> slow;
  for (int i = 0; i < 200; ++i) {
    slow.push_back(std::make_unique<RawClient>(server_.port()));
    slow.back()->send("GET /hello HTTP/1.1\r\nX-");
  }
  for (int i = 0; i < 20; ++i) EXPECT_EQ(healthy(), 200);
  for (auto& client : slow) client->send("a: b\r\nX-");
  EXPECT_EQ(healthy(), 200);
}

TEST_F(HttpAttacks, SlowBodiesHoldNobodyUp) {
  std::vector<std::unique_ptr<RawClient>> slow;
  for (int i = 0; i < 200; ++i) {
    slow.push_back(std::make_unique<RawClient>(server_.port()));
    slow.back()->send("POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\nx");
  }
  for (int i = 0; i < 20; ++i) EXPECT_EQ(healthy(), 200);
}

TEST_F(HttpAttacks, IdleStreamsHoldNobodyUp) {
  std::vector<std::unique_ptr<RawClient>> streams;
  for (int i = 0; i < 200; ++i) {
    streams.push_back(std::make_unique<RawClient>(server_.port()));
    streams.back()->send(get("/idle"));
  }
  ASSERT_TRUE(until([&] { return server_.waiting == 200; }));
  for (int i = 0; i < 20; ++i) EXPECT_EQ(healthy(), 200);
  streams.clear();
  EXPECT_TRUE(until([&] { return server_.left == 200; }));
}

TEST_F(HttpAttacks, ManyRangesAreOneAnswer) {
  std::string ranges = "Range: bytes=0-";
  for (int i = 0; i < 1000; ++i) ranges += ",0-";
  const auto answer = RawClient(server_.port()).ask(get("/big", ranges + "\r\n"));
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body.size(), size_t{1} << 20);
}

TEST_F(HttpAttacks, NoRequestHidesInAnothersBody) {
  const std::string hidden = get("/hello");
  const std::string line = "POST /echo HTTP/1.1\r\nHost: localhost\r\n";
  const std::string length = "Content-Length: " + std::to_string(hidden.size()) + "\r\n";
  for (const std::string& head :
       {length + "Transfer-Encoding: chunked\r\n", length + "Content-Length: 0\r\n",
        "Transfer-Encoding: chunked\r\n" + length, std::string("Transfer-Encoding: xchunked\r\n"),
        std::string("Transfer-Encoding : chunked\r\n"), std::string("Content-Length: 0, 5\r\n"),
        std::string("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n"),
        std::string("Content-Length: 5\r\n \r\n"), std::string("Content-Length: 5\nX: y\r\n")}) {
    RawClient client(server_.port());
    const auto answer = client.ask(line + head + "\r\n" + hidden);
    EXPECT_TRUE(answer.status == 400 || answer.status == 501) << head << answer.status;
    EXPECT_EQ(client.read_answer().status, 0) << head;  // nothing else is answered
  }
}

TEST_F(HttpAttacks, AnUnreadBodyIsNoRequest) {
  auto guarded = options();
  guarded.gate = [](const RequestHead&) {
    Verdict verdict;
    verdict.refusal = Response{.status = 401, .body = "{}"};
    return verdict;
  };
  EchoServer server(guarded);
  RawClient client(server.port());
  EXPECT_EQ(client.ask(post("/echo", get("/hello"))).status, 401);
  EXPECT_EQ(client.read_answer().status, 0);
}

TEST_F(HttpAttacks, PipelinedRequestsAreAllAnswered) {
  RawClient client(server_.port());
  std::string all;
  for (int i = 0; i < 200; ++i) all += get("/hello") + post("/echo", std::to_string(i));
  client.send(all);
  for (int i = 0; i < 200; ++i) {
    EXPECT_EQ(client.read_answer().body, "hello");
    EXPECT_EQ(client.read_answer().body, std::to_string(i));
  }
}

TEST_F(HttpAttacks, AnExceptionTellsNothing) {
  const auto answer = RawClient(server_.port()).ask(get("/throw"));
  EXPECT_EQ(answer.status, 500);
  EXPECT_EQ((answer.head + answer.body).find("secret"), std::string::npos);
  EXPECT_FALSE(answer.has("exception"));
}

TEST_F(HttpAttacks, ClientsCannotSpeakForTheServer) {
  const auto answer = RawClient(server_.port())
                          .ask(get("/headers",
                                   "REMOTE_ADDR: 9.9.9.9\r\nREMOTE_PORT: 1\r\n"
                                   "X: a%0d%0aSet-Cookie: b\r\n"
                                   "Authorization: Bearer a%41\r\n"));
  EXPECT_NE(answer.body.find("remote_addr=9.9.9.9\n"), std::string::npos);  // one header of many
  EXPECT_NE(answer.body.find("x=a%0d%0aSet-Cookie: b\n"), std::string::npos);
  EXPECT_NE(answer.body.find("authorization=Bearer a%41\n"), std::string::npos);
  EXPECT_FALSE(answer.has("set-cookie"));
}

TEST_F(HttpAttacks, NaglesAlgorithmDelaysNoAnswer) {
  RawClient client(server_.port());
  EXPECT_EQ(client.ask(get("/hello")).body, "hello");
  int no_delay = 0;
  for (int fd = 3; fd < 1024 && no_delay == 0; ++fd) {
    sockaddr_in here{};
    socklen_t size = sizeof here;
    if (::getsockname(fd, reinterpret_cast<sockaddr*>(&here), &size) != 0) continue;
    sockaddr_in there{};
    socklen_t there_size = sizeof there;
    const bool is_servers =
        ntohs(here.sin_port) == server_.port() &&
        ::getpeername(fd, reinterpret_cast<sockaddr*>(&there), &there_size) == 0;
    size = sizeof no_delay;
    if (is_servers) ::getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &no_delay, &size);
  }
  EXPECT_EQ(no_delay, 1);
}

TEST_F(HttpAttacks, AClientThatLeavesIsNoticedWithoutAnyWrite) {
  std::vector<std::unique_ptr<RawClient>> clients;
  for (int i = 0; i < 50; ++i) {
    clients.push_back(std::make_unique<RawClient>(server_.port()));
    clients.back()->send(post("/wait", "{}"));
  }
  ASSERT_TRUE(until([&] { return server_.waiting == 50; }));
  clients.clear();
  EXPECT_TRUE(until([&] { return server_.left == 50; }));
}

TEST_F(HttpAttacks, ARefusedClientThatNeverStopsSendingIsLeft) {
  RawClient client(server_.port());
  client.send("POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n");
  flood(client, std::string(65536, 'x'), size_t{64} << 30);  // ends when the server hangs up
}

TEST_F(HttpAttacks, ConnectionsThatComeAndGoLeaveNothingBehind) {
  for (int i = 0; i < 1000; ++i) {
    RawClient client(server_.port());
    if (i % 3 == 0) client.send("GET /he");
    if (i % 3 == 1) client.send(get("/hello"));
    if (i % 100 == 99) {
      EXPECT_EQ(healthy(), 200);
    }
  }
}

}  // namespace
}  // namespace tristill::http
