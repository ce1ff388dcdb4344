#include "server/http/listener.h"

#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "server/http/error.h"
#include "tests/support/job_fixture.h"
#include "tests/support/raw_client.h"

namespace tristill::http {
namespace {

using tests::RawAnswer;
using tests::RawClient;
using tests::until;

std::string get(const std::string& path, const std::string& headers = "") {
  return "GET " + path + " HTTP/1.1\r\nHost: h\r\n" + headers + "\r\n";
}

std::string post(const std::string& path, const std::string& body,
                 const std::string& headers = "") {
  return "POST " + path + " HTTP/1.1\r\nHost: h\r\nContent-Length: " + std::to_string(body.size()) +
         "\r\n" + headers + "\r\n" + body;
}

class HttpListener : public ::testing::Test {
 protected:
  void SetUp() override {
    options_.port = 0;
    options_.sites.allowed_hosts = {"h"};
    options_.limits.body_bytes = 100000;
    options_.limits.linger_time = std::chrono::milliseconds(2000);
    add("GET", "/hello", [](const Request&) { return text("hello"); });
    add("POST", "/echo", [](const Request& request) { return text(request.body); });
    add("GET", "/headers", [](const Request& request) {
      std::string all;
      for (const auto& [name, value] : request.headers) all += name + "=" + value + "\n";
      for (const auto& [name, value] : request.query) all += "?" + name + "=" + value + "\n";
      return text(all);
    });
    add("GET", "/throw", [](const Request&) -> Response { throw std::runtime_error("secret"); });
    add("GET", "/big", [](const Request&) { return text(std::string(3 << 20, 'x')); });
    add("GET", "/items/{id}", [](const Request& r) { return text(r.path_params.at("id")); });
    add("POST", "/wait", [this](const Request& request) { return wait_for_leaving(request); });
    add("GET", "/stream", [](const Request&) { return stream(3); });
    add("GET", "/endless", [this](const Request&) { return endless(); });
  }
  void TearDown() override {
    released_ = true;
    if (serving_.joinable()) {
      listener_->stop();
      serving_.join();
    }
  }

  static Response text(std::string body) {
    Response response;
    response.content_type = "text/plain";
    response.body = std::move(body);
    return response;
  }

  static Response stream(int n) {
    Response response;
    response.content_type = "text/event-stream; charset=utf-8";
    response.stream = [n](StreamWriter& writer) {
      for (int i = 0; i < n; ++i) {
        if (!writer.write("data: " + std::to_string(i) + "\n\n")) return;
      }
    };
    return response;
  }

  Response wait_for_leaving(const Request& request) {
    ++waiting_;
    std::unique_lock lock(mutex_);
    while (!released_ && !request.client_gone()) {
      changed_.wait_for(lock, std::chrono::milliseconds(1));
    }
    if (!released_) ++left_;
    return text("waited");
  }

  Response endless() {
    Response response;
    response.content_type = "text/event-stream";
    response.stream = [this](StreamWriter& writer) {
      while (writer.write("data: x\n\n")) {
        ++waiting_;
      }
      ++left_;
    };
    return response;
  }

  void add(std::string_view method, std::string_view pattern, Handler handler) {
    router_.add(method, pattern, std::move(handler));
  }

  void start() {
    listener_ = std::make_unique<Listener>(router_, options_, [this](const Exchange& exchange) {
      const std::lock_guard lock(mutex_);
      seen_.push_back(exchange);
    });
    const auto port = listener_->bind();
    ASSERT_TRUE(port) << port.error().message;
    port_ = *port;
    serving_ = std::thread([this] { listener_->serve(); });
  }

  std::vector<Exchange> seen() {
    const std::lock_guard lock(mutex_);
    return seen_;
  }

  // A fresh connection that sends bytes; what it is answered, and that the connection then ends.
  RawAnswer refused(const std::string& bytes) {
    RawClient client(port_);
    RawAnswer answer = client.ask(bytes);
    client.half_close();
    EXPECT_TRUE(client.is_at_end());
    EXPECT_TRUE(answer.has("connection: close"));
    EXPECT_TRUE(answer.has("x-request-id: "));
    EXPECT_NE(answer.body.find("\"error\""), std::string::npos) << answer.body;
    return answer;
  }

  ListenerOptions options_;
  Router router_;
  std::unique_ptr<Listener> listener_;
  std::thread serving_;
  int port_ = 0;
  std::atomic<int> waiting_{0}, left_{0};
  std::atomic<bool> released_{false};
  std::condition_variable changed_;
  std::mutex mutex_;  // guards seen_
  std::vector<Exchange> seen_;
};

TEST_F(HttpListener, AnswersOnOneConnectionAgainAndAgain) {
  start();
  RawClient client(port_);
  for (int i = 0; i < 50; ++i) {
    const auto answer = client.ask(get("/hello"));
    ASSERT_EQ(answer.status, 200);
    ASSERT_EQ(answer.body, "hello");
  }
}

TEST_F(HttpListener, PipelinedRequestsAreAllAnsweredInOrder) {
  start();
  RawClient client(port_);
  client.send(post("/echo", "one") + post("/echo", "") + get("/hello") + post("/echo", "four"));
  EXPECT_EQ(client.read_answer().body, "one");
  EXPECT_EQ(client.read_answer().body, "");
  EXPECT_EQ(client.read_answer().body, "hello");
  EXPECT_EQ(client.read_answer().body, "four");
}

TEST_F(HttpListener, ByteByByteIsAsGood) {
  start();
  RawClient client(port_);
  for (const char byte : post("/echo", "slow but whole")) client.send(std::string_view(&byte, 1));
  EXPECT_EQ(client.read_answer().body, "slow but whole");
}

TEST_F(HttpListener, ChunkedBodiesAreJoined) {
  start();
  RawClient client(port_);
  client.send("POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
  client.send("3\r\nabc\r\nA;name=value\r\n0123456789\r\n0\r\n\r\n" + get("/hello"));
  EXPECT_EQ(client.read_answer().body, "abc0123456789");
  EXPECT_EQ(client.read_answer().body, "hello");
}

TEST_F(HttpListener, ManySmallChunksAreJoined) {
  start();
  RawClient client(port_);
  std::string body, chunks;
  for (int i = 0; i < 30000; ++i) {
    body += static_cast<char>('a' + i % 26);
    chunks += "1\r\n" + body.substr(body.size() - 1) + "\r\n";
  }
  client.send("POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks +
              "0\r\n\r\n");
  EXPECT_EQ(client.read_answer().body, body);
}

TEST_F(HttpListener, MalformedChunksAreRefused) {
  start();
  const std::string head = "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (const std::string chunks : {"x\r\n", "-1\r\n", "0x3\r\nabc\r\n", "\r\n", "3\r\nabcd\r\n",
                                   "0\r\nTrailer: x\r\n\r\n", "ffffffffffffffffff\r\n"}) {
    EXPECT_EQ(refused(head + chunks).status, 400) << chunks;
  }
  EXPECT_EQ(refused(head + "1;" + std::string(200, 'e') + "\r\na\r\n").status, 400);
  EXPECT_EQ(refused(head + std::string(200, '1')).status, 400);
}

TEST_F(HttpListener, AmbiguousFramingIsRefused) {
  start();
  EXPECT_EQ(refused(post("/echo", "abc", "Content-Length: 3\r\n")).status, 400);
  EXPECT_EQ(refused(post("/echo", "abc", "Transfer-Encoding: chunked\r\n")).status, 400);
  EXPECT_EQ(refused(post("/echo", "abc", "Content-Encoding: br\r\n")).status, 415);
}

TEST_F(HttpListener, HugeHeadsAreRefused) {
  start();
  EXPECT_EQ(refused(get("/hello", "A: " + std::string(40000, 'a') + "\r\n")).status, 431);
  EXPECT_EQ(refused("GET / HTTP/1.1\r\nHost: h\r\nA: " + std::string(40000, 'a')).status, 431);
  std::string many;
  for (int i = 0; i < 200; ++i) many += "a: b\r\n";
  EXPECT_EQ(refused(get("/hello", many)).status, 431);
}

TEST_F(HttpListener, LargeBodiesAreRefusedBeforeTheyAreRead) {
  start();
  EXPECT_EQ(refused("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 100001\r\n\r\n").status,
            413);
  RawClient client(port_);  // sends all of it, as most clients do, and still learns why
  client.send(post("/echo", std::string(3 << 20, 'x')));
  EXPECT_EQ(client.read_answer().status, 413);
  RawClient chunked(port_);
  chunked.send("POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
  const std::string chunk = "4e20\r\n" + std::string(20000, 'x') + "\r\n";
  for (int i = 0; i < 6; ++i) chunked.send(chunk);
  EXPECT_EQ(chunked.read_answer().status, 413);
}

TEST_F(HttpListener, SlowHeadsAreCutOff) {
  options_.limits.head_time = std::chrono::milliseconds(50);
  options_.limits.linger_time = std::chrono::milliseconds(50);
  start();
  EXPECT_EQ(refused("GET /hello HTTP/1.1\r\nHos").status, 408);
}

TEST_F(HttpListener, SlowBodiesAreCutOff) {
  options_.limits.body_time = std::chrono::milliseconds(50);
  options_.limits.linger_time = std::chrono::milliseconds(50);
  start();
  EXPECT_EQ(refused("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc").status, 408);
}

TEST_F(HttpListener, IdleConnectionsAreClosed) {
  options_.limits.idle_time = std::chrono::milliseconds(50);
  start();
  RawClient client(port_);
  EXPECT_EQ(client.ask(get("/hello")).status, 200);
  EXPECT_TRUE(client.is_at_end());
}

TEST_F(HttpListener, SlowClientsDoNotBlockOthers) {
  start();
  std::vector<std::unique_ptr<RawClient>> slow;
  for (int i = 0; i < 100; ++i) {
    slow.push_back(std::make_unique<RawClient>(port_));
    slow.back()->send("GET /hello HTT");
  }
  EXPECT_EQ(RawClient(port_).ask(get("/hello")).body, "hello");
}

TEST_F(HttpListener, ConnectionsBeyondTheLimitAreTurnedAway) {
  options_.max_connections = 2;
  start();
  RawClient first(port_), second(port_);
  EXPECT_EQ(first.ask(get("/hello")).status, 200);
  EXPECT_EQ(second.ask(get("/hello")).status, 200);
  RawClient third(port_);
  const auto answer = third.read_answer();
  EXPECT_EQ(answer.status, 503);
  EXPECT_TRUE(answer.has("retry-after: 1"));
  first.close();
  EXPECT_TRUE(until([&] { return RawClient(port_).ask(get("/hello")).status == 200; }));
}

TEST_F(HttpListener, ExpectContinueIsAnswered) {
  start();
  RawClient client(port_);
  client.send(
      "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(client.read_answer().status, 100);
  EXPECT_EQ(client.ask("ok").body, "ok");
}

TEST_F(HttpListener, RangesAndCompressionAreIgnored) {
  start();
  RawClient client(port_);
  const auto answer =
      client.ask(get("/big", "Range: bytes=0-,0-,0-\r\nAccept-Encoding: gzip, br\r\n"));
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body.size(), size_t{3} << 20);
  EXPECT_FALSE(answer.has("content-encoding"));
}

TEST_F(HttpListener, FormBodiesStayBodies) {
  start();
  RawClient client(port_);
  const std::string body = "{\"a\": \"" + std::string(20000, '&') + "\"}";
  for (const std::string type :
       {"application/x-www-form-urlencoded", "multipart/form-data; boundary=x"}) {
    EXPECT_EQ(client.ask(post("/echo", body, "Content-Type: " + type + "\r\n")).body, body) << type;
  }
}

TEST_F(HttpListener, HeadersArriveAsSentAndCannotBeForged) {
  start();
  RawClient client(port_);
  const auto answer =
      client.ask(get("/headers?a=b%20c", "X-A: 100%25%0d%0aX-B: c\r\nRemote_Addr: 9\r\n"));
  EXPECT_NE(answer.body.find("x-a=100%25%0d%0aX-B: c\n"), std::string::npos) << answer.body;
  EXPECT_NE(answer.body.find("?a=b c\n"), std::string::npos) << answer.body;
  EXPECT_EQ(answer.body.find("REMOTE_ADDR"), std::string::npos);
}

TEST_F(HttpListener, AThrowingHandlerIs500AndTellsNoSecret) {
  start();
  RawClient client(port_);
  const auto answer = client.ask(get("/throw", "X-Request-Id: my-id\r\n"));
  EXPECT_EQ(answer.status, 500);
  EXPECT_TRUE(answer.has("x-request-id: my-id"));
  EXPECT_NE(answer.body.find("my-id"), std::string::npos);
  EXPECT_EQ((answer.head + answer.body).find("secret"), std::string::npos);
  EXPECT_EQ(client.ask(get("/hello")).status, 200);
}

TEST_F(HttpListener, RequestIdsAreEchoedWhenSane) {
  start();
  RawClient client(port_);
  EXPECT_TRUE(
      client.ask(get("/hello", "x-request-id: a.B_c:-9\r\n")).has("x-request-id: a.B_c:-9\r\n"));
  for (const std::string odd : {"with space", "semi;colon", "", "\xc3\xa9"}) {
    EXPECT_TRUE(
        client.ask(get("/hello", "x-request-id: " + odd + "\r\n")).has("x-request-id: req_"));
  }
  const std::string long_id(129, 'a');
  EXPECT_TRUE(
      client.ask(get("/hello", "x-request-id: " + long_id + "\r\n")).has("x-request-id: req_"));
  EXPECT_TRUE(client.ask(get("/hello")).has("openai-processing-ms: "));
}

TEST_F(HttpListener, UnknownPathsAndMethodsAreJsonErrors) {
  start();
  RawClient client(port_);
  const auto unknown = client.ask(get("/nowhere"));
  EXPECT_EQ(unknown.status, 404);
  EXPECT_NE(unknown.body.find("unknown_route"), std::string::npos);
  const auto wrong = client.ask("DELETE /hello HTTP/1.1\r\nHost: h\r\n\r\n");
  EXPECT_EQ(wrong.status, 405);
  EXPECT_TRUE(wrong.has("allow: GET"));
  EXPECT_EQ(client.ask("OPTIONS /hello HTTP/1.1\r\nHost: h\r\n\r\n").status, 405);
  EXPECT_EQ(refused("BREW /hello HTTP/1.1\r\nHost: h\r\n\r\n").status, 501);
}

TEST_F(HttpListener, StreamsArriveInChunksWithOneOfEachHeader) {
  start();
  RawClient client(port_);
  const auto answer = client.ask(get("/stream", "Accept-Encoding: gzip\r\n"));
  EXPECT_EQ(answer.body, "data: 0\n\ndata: 1\n\ndata: 2\n\n");
  EXPECT_TRUE(answer.has("content-type: text/event-stream; charset=utf-8\r\n"));
  EXPECT_TRUE(answer.has("cache-control: no-cache\r\n"));
  EXPECT_TRUE(answer.has("x-accel-buffering: no\r\n"));
  EXPECT_FALSE(answer.has("content-encoding"));
  EXPECT_EQ(client.ask(get("/hello")).body, "hello");
}

TEST_F(HttpListener, Http10GetsStreamsAsOneBodyAndItsConnectionClosed) {
  start();
  RawClient client(port_);
  const auto answer = client.ask("GET /stream HTTP/1.0\r\n\r\n");
  EXPECT_EQ(answer.body, "data: 0\n\ndata: 1\n\ndata: 2\n\n");
  EXPECT_FALSE(answer.has("transfer-encoding"));
  EXPECT_TRUE(client.is_at_end());
}

TEST_F(HttpListener, HeadHasNoBody) {
  start();
  RawClient client(port_);
  client.send("HEAD /hello HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
  const auto answer = client.read_answer();
  EXPECT_EQ(answer.status, 200);
  EXPECT_TRUE(answer.body.empty());
  EXPECT_TRUE(client.is_at_end());
}

TEST_F(HttpListener, AClientThatLeavesIsNoticedWithoutAnyWrite) {
  start();
  for (int i = 1; i <= 5; ++i) {
    RawClient client(port_);
    client.send(post("/wait", "{}"));
    ASSERT_TRUE(until([&] { return waiting_ == i; }));
    client.close();
    ASSERT_TRUE(until([&] { return left_ == i; }));
  }
}

TEST_F(HttpListener, AClientThatLeavesEndsItsStream) {
  start();
  RawClient client(port_);
  client.send(get("/endless"));
  ASSERT_TRUE(until([&] { return waiting_ > 10; }));
  client.close();
  EXPECT_TRUE(until([&] { return left_ == 1; }));
}

TEST_F(HttpListener, AStreamThatNobodyReadsIsCutOff) {
  options_.limits.write_time = std::chrono::milliseconds(50);
  start();
  RawClient client(port_);
  client.send(get("/endless"));  // and reads nothing, while the buffers between fill up
  EXPECT_TRUE(until([&] { return left_ == 1; }));
}

TEST_F(HttpListener, TheGateDecidesByTheHeadAndTheBodyIsNotRead) {
  options_.gate = [](const RequestHead& head) {
    Verdict verdict{.key_id = "key_1", .headers = {{"x-ratelimit-limit-requests", "9"}}};
    if (head.header("x-api-key") != "k") verdict.refusal = error_response(401, "", "no", "", "");
    return verdict;
  };
  add("GET", "/key", [](const Request& request) { return text(request.key_id); });
  start();
  const auto answer = refused("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 99999\r\n\r\n");
  EXPECT_EQ(answer.status, 401);
  EXPECT_TRUE(answer.has("x-ratelimit-limit-requests: 9"));
  EXPECT_TRUE(answer.has("www-authenticate: Bearer"));
  RawClient client(port_);
  const auto passed = client.ask(get("/key", "X-Api-Key: k\r\n"));
  EXPECT_EQ(passed.body, "key_1");
  EXPECT_TRUE(passed.has("x-ratelimit-limit-requests: 9"));
  ASSERT_TRUE(until([&] { return seen().size() == 2; }));
  EXPECT_EQ(seen()[0].key_id, "key_1");
  EXPECT_EQ(seen()[1].key_id, "key_1");
}

TEST_F(HttpListener, TheGateAndTheRouterSeeTheSamePath) {
  std::atomic<int> asked{0};
  options_.gate = [&](const RequestHead& head) {
    if (head.path == "/hello") ++asked;
    return Verdict{};
  };
  start();
  RawClient client(port_);
  for (const std::string path : {"/hello", "/%68ello", "/hel%6Co?x=%zz", "/hello?y"}) {
    EXPECT_EQ(client.ask(get(path)).body, "hello") << path;
  }
  EXPECT_EQ(asked, 4);
  EXPECT_EQ(client.ask(get("/%2568ello")).status, 404);  // decoded once
  for (const std::string path : {"/%zz", "/%6", "/%", "/a%00b", "/a%0d%0ab", "/%u0068ello"}) {
    EXPECT_EQ(refused(get(path)).status, 400) << path;
  }
}

TEST_F(HttpListener, PagesOfOtherSitesCannotPost) {
  start();
  EXPECT_EQ(refused(post("/echo", "x", "Origin: http://evil.example\r\n")).status, 403);
  EXPECT_EQ(refused(post("/echo", "x", "Origin: http://localhost.evil.example\r\n")).status, 403);
  EXPECT_EQ(refused(post("/echo", "x", "Origin: null\r\n")).status, 403);
  RawClient client(port_);
  for (const std::string origin :
       {"http://localhost:3000", "http://127.0.0.1", "https://h", "http://[::1]:9"}) {
    EXPECT_EQ(client.ask(post("/echo", "x", "Origin: " + origin + "\r\n")).status, 200) << origin;
  }
}

TEST_F(HttpListener, EveryAnswerIsObservedWithItsRoute) {
  start();
  RawClient client(port_);
  client.ask(get("/items/7"));
  client.ask(get("/nowhere"));
  client.ask(get("/stream"));
  refused("nonsense\r\n\r\n");
  ASSERT_TRUE(until([&] { return seen().size() == 4; }));
  const auto all = seen();
  EXPECT_EQ(all[0].route, "/items/{id}");
  EXPECT_EQ(all[0].path, "/items/7");
  EXPECT_EQ(all[1].route, "");
  EXPECT_EQ(all[1].status, 404);
  EXPECT_EQ(all[2].route, "/stream");
  EXPECT_EQ(all[3].status, 400);
  EXPECT_FALSE(all[3].request_id.empty());
}

TEST_F(HttpListener, StopLetsAnAnswerFinishAndClosesTheIdle) {
  start();
  RawClient idle(port_), busy(port_);
  idle.ask(get("/hello"));
  busy.send(post("/wait", "{}"));
  ASSERT_TRUE(until([&] { return waiting_ == 1; }));
  std::thread stopping([this] { listener_->stop(); });
  EXPECT_TRUE(idle.is_at_end());
  released_ = true;
  EXPECT_EQ(busy.read_answer().body, "waited");
  EXPECT_TRUE(busy.is_at_end());
  stopping.join();
}

TEST_F(HttpListener, StopCutsOffWhatDoesNotEnd) {
  options_.stop_grace = std::chrono::milliseconds(50);
  start();
  RawClient slow(port_), busy(port_);
  slow.send("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n");
  busy.send(post("/wait", "{}"));
  ASSERT_TRUE(until([&] { return waiting_ == 1; }));
  listener_->stop();
  serving_.join();
  EXPECT_EQ(left_, 1);
}

TEST_F(HttpListener, StopBeforeServingEndsServing) {
  listener_ = std::make_unique<Listener>(router_, options_, [](const Exchange&) {});
  ASSERT_TRUE(listener_->bind());
  listener_->stop();
  listener_->serve();  // returns at once
}

TEST_F(HttpListener, ABusyPortIsNamedWithTheRemedy) {
  start();
  ListenerOptions same = options_;
  same.port = port_;
  Listener second(router_, same, [](const Exchange&) {});
  const auto bound = second.bind();
  ASSERT_FALSE(bound);
  EXPECT_EQ(bound.error().code, ErrorCode::unavailable);
  EXPECT_EQ(bound.error().param, "port");
  EXPECT_NE(bound.error().message.find(std::to_string(port_)), std::string::npos);
  EXPECT_NE(bound.error().message.find("--port"), std::string::npos);
}

TEST_F(HttpListener, AnUnknownHostIsNamed) {
  options_.host = "203.0.113.7";  // for documentation: no machine has it
  Listener listener(router_, options_, [](const Exchange&) {});
  const auto bound = listener.bind();
  ASSERT_FALSE(bound);
  EXPECT_NE(bound.error().message.find("--host"), std::string::npos) << bound.error().message;
}

}  // namespace
}  // namespace tristill::http
