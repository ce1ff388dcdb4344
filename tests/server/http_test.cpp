// The listener over real sockets, spoken to byte by byte as a hostile client would.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "base/sha256.h"
#include "server/http/error.h"
#include "server/http/listener.h"
#include "server/http/request_id.h"

namespace tristill::http {
namespace {

class Client {
 public:
  explicit Client(int port) : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  }
  ~Client() { hang_up(); }
  void hang_up() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }
  void send(const std::string& bytes) const {
    (void)!::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
  }
  // Reads until text appears, the server closes, or ten seconds pass.
  std::string read_until(const std::string& text) {
    while (seen_.find(text) == std::string::npos) {
      pollfd wait{fd_, POLLIN, 0};
      if (::poll(&wait, 1, 10000) <= 0) break;
      char part[4096];
      const ssize_t n = ::recv(fd_, part, sizeof part, 0);
      if (n <= 0) break;
      seen_.append(part, static_cast<size_t>(n));
    }
    return seen_;
  }

 private:
  int fd_;
  std::string seen_;
};

class ListenerTest : public ::testing::Test {
 protected:
  ListenerTest() {
    router_.add("GET", "/hello", [](const Request&) { return Response{.body = "hi"}; });
    router_.add("POST", "/echo", [](const Request& request) {
      return Response{.content_type = "text/plain", .body = "[" + request.body + "]"};
    });
    router_.add("GET", "/items/{id}/parts", [](const Request& request) {
      return Response{.body = request.path_params.at("id")};
    });
    router_.add("GET", "/throw",
                [](const Request&) -> Response { throw std::runtime_error("boom"); });
    router_.add("GET", "/wait", [this](const Request& request) {
      while (!request.client_gone()) std::this_thread::yield();
      const std::lock_guard lock(mutex_);
      left_ = true;
      changed_.notify_all();
      return Response{};
    });
    options_.port = 0;
    options_.limits.head_bytes = 4096;
    options_.limits.body_bytes = 1000;
    options_.limits.head_time = std::chrono::milliseconds(400);
  }
  void start() {
    listener_ = std::make_unique<Listener>(router_, options_, [](const Exchange&) {});
    port_ = *listener_->bind();
    thread_ = std::thread([this] { listener_->serve(); });
  }
  ~ListenerTest() override {
    if (!listener_) return;
    listener_->stop();
    thread_.join();
  }
  std::string answer(const std::string& request, const std::string& until = "\r\n\r\n") {
    Client client(port_);
    client.send(request);
    return client.read_until(until);
  }

  Router router_;
  ListenerOptions options_;
  std::unique_ptr<Listener> listener_;
  std::thread thread_;
  int port_ = 0;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool left_ = false;
};

bool has_status(const std::string& answer, int status) {
  return answer.starts_with("HTTP/1.1 " + std::to_string(status));
}

TEST_F(ListenerTest, AnswersWithARequestId) {
  start();
  const std::string plain = answer("GET /hello HTTP/1.1\r\nHost: x\r\n\r\n", "hi");
  EXPECT_TRUE(has_status(plain, 200));
  EXPECT_NE(plain.find("x-request-id: req_"), std::string::npos);
  EXPECT_NE(
      answer("GET /hello HTTP/1.1\r\nHost: x\r\nX-Request-Id: mine-1\r\n\r\n", "hi").find("mine-1"),
      std::string::npos);
}

TEST_F(ListenerTest, PipelinedRequestsAreAllAnswered) {
  start();
  const std::string one = "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n";
  Client client(port_);
  client.send(one + one + "GET /items/7/parts HTTP/1.1\r\nHost: x\r\n\r\n");
  const std::string all = client.read_until("\r\n\r\n7");
  size_t answers = 0;
  for (size_t at = all.find("HTTP/1.1 200"); at != std::string::npos;
       at = all.find("HTTP/1.1 200", at + 1)) {
    ++answers;
  }
  EXPECT_EQ(answers, 3U);
}

TEST_F(ListenerTest, BodiesArriveWholeInBothFramings) {
  start();
  EXPECT_NE(answer("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", "]")
                .find("[hello]"),
            std::string::npos);
  EXPECT_NE(answer("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                   "3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n",
                   "]")
                .find("[abcde]"),
            std::string::npos);
}

TEST_F(ListenerTest, AmbiguousOrOversizedRequestsAreRefused) {
  start();
  const struct {
    std::string request;
    int status;
  } cases[] = {
      {"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400},
      {"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: "
       "chunked\r\n\r\n0\r\n\r\n",
       400},
      {"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400},
      {"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501},
      {"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\na",
       415},
      {"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n", 413},
      {"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFF\r\n", 413},
      {"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400},
      {"GET /hello HTTP/1.1\r\nHost: x\r\nX: " + std::string(5000, 'a') + "\r\n\r\n", 431},
      {"GET /hello HTTP/1.1\r\nHost: x\r\nbroken line\r\n\r\n", 400},
      {"GET /hello HTTP/1.1\r\nHost: x\r\n", 408},
  };
  for (const auto& c : cases) {
    const std::string said = answer(c.request);
    EXPECT_TRUE(has_status(said, c.status)) << c.request.substr(0, 80) << "\n" << said;
    EXPECT_NE(said.find("Connection: close"), std::string::npos);
  }
  EXPECT_TRUE(has_status(answer("GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"), 200));
}

TEST_F(ListenerTest, SlowClientsDoNotKeepOthersWaiting) {
  start();
  std::vector<std::unique_ptr<Client>> slow;
  for (int i = 0; i < 50; ++i) {
    slow.push_back(std::make_unique<Client>(port_));
    slow.back()->send("GET /hel");
  }
  EXPECT_TRUE(has_status(answer("GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"), 200));
}

TEST_F(ListenerTest, AClientThatLeavesIsNoticedWhileNothingIsWritten) {
  start();
  Client client(port_);
  client.send("GET /wait HTTP/1.1\r\nHost: x\r\n\r\n");
  client.hang_up();
  std::unique_lock lock(mutex_);
  EXPECT_TRUE(changed_.wait_for(lock, std::chrono::seconds(10), [this] { return left_; }));
}

TEST_F(ListenerTest, UnknownPathsAndMethodsAreJsonErrors) {
  start();
  EXPECT_TRUE(has_status(answer("GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n", "}}"), 404));
  const std::string wrong = answer("DELETE /hello HTTP/1.1\r\nHost: x\r\n\r\n", "}}");
  EXPECT_TRUE(has_status(wrong, 405));
  EXPECT_NE(wrong.find("Allow: GET"), std::string::npos);
}

TEST_F(ListenerTest, AHandlersExceptionIsA500ThatHidesItsReason) {
  start();
  const std::string said = answer("GET /throw HTTP/1.1\r\nHost: x\r\n\r\n", "}}");
  EXPECT_TRUE(has_status(said, 500));
  EXPECT_EQ(said.find("boom"), std::string::npos);
}

TEST_F(ListenerTest, AKeyIsAskedForEverywhereButHealth) {
  options_.api_key_sha256 = to_hex(sha256("secret"));
  start();
  EXPECT_TRUE(has_status(answer("GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"), 401));
  EXPECT_TRUE(has_status(
      answer("GET /hello HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secreu\r\n\r\n"), 401));
  EXPECT_TRUE(has_status(
      answer("GET /hello HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\n\r\n"), 200));
  EXPECT_TRUE(has_status(answer("GET /health HTTP/1.1\r\nHost: x\r\n\r\n"), 404));  // let through
}

TEST_F(ListenerTest, ABusyPortIsNamedWithTheRemedy) {
  start();
  ListenerOptions same = options_;
  same.port = port_;
  Listener second(router_, same, [](const Exchange&) {});
  const auto port = second.bind();
  ASSERT_FALSE(port);
  EXPECT_EQ(port.error().code, ErrorCode::unavailable);
  EXPECT_NE(port.error().message.find("--port"), std::string::npos);
}

TEST(RequestId, OnlySaneOnesAreKept) {
  EXPECT_EQ(request_id_for("abc-1.2:3_"), "abc-1.2:3_");
  EXPECT_TRUE(request_id_for("a b").starts_with("req_"));
  EXPECT_TRUE(request_id_for(std::string(200, 'a')).starts_with("req_"));
  EXPECT_NE(request_id_for(""), request_id_for(""));
}

}  // namespace
}  // namespace tristill::http
