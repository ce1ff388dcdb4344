// EchoServer: a Listener with a few plain routes, for tests of what happens below the routes.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "server/http/listener.h"

namespace tristill::tests {

inline std::string get(const std::string& path, const std::string& headers = "") {
  return "GET " + path + " HTTP/1.1\r\nHost: localhost\r\n" + headers + "\r\n";
}

inline std::string post(const std::string& path, const std::string& body,
                        const std::string& headers = "") {
  return "POST " + path +
         " HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" +
         headers + "\r\n" + body;
}

// GET /hello, /health, /throw, /big; POST /echo; GET /headers lists what arrived; POST /wait
// answers when its client has left or the server stops; GET /idle is a stream that does so too.
class EchoServer {
 public:
  // Starts; url() is empty when it cannot, and error() says why.
  explicit EchoServer(http::ListenerOptions options) {
    options.port = 0;
    add_routes();
    listener_ =
        std::make_unique<http::Listener>(router_, std::move(options), [](const http::Exchange&) {});
    const auto bound = listener_->bind();
    if (!bound) {
      error_ = bound.error();
      return;
    }
    port_ = *bound;
    serving_ = std::thread([this] { listener_->serve(); });
  }
  ~EchoServer() { stop(); }
  EchoServer(const EchoServer&) = delete;
  EchoServer& operator=(const EchoServer&) = delete;

  void stop() {
    released = true;
    if (!serving_.joinable()) return;
    listener_->stop();
    serving_.join();
  }
  int port() const { return port_; }
  std::string url() const { return port_ < 0 ? "" : listener_->url(); }
  const Error& error() const { return error_; }
  http::Listener& listener() { return *listener_; }

  std::atomic<int> waiting{0};  // requests to /wait and /idle that began
  std::atomic<int> left{0};  // those whose client was seen to leave
  std::atomic<bool> released{false};

 private:
  static http::Response text(std::string body) {
    http::Response response;
    response.content_type = "text/plain";
    response.body = std::move(body);
    return response;
  }

  void await_leaving(const std::function<bool()>& gone) {
    ++waiting;
    std::unique_lock lock(mutex_);
    while (!released && !gone()) never_.wait_for(lock, std::chrono::milliseconds(2));
    if (!released) ++left;
  }

  void add_routes() {
    router_.add("GET", "/hello", [](const auto&) { return text("hello"); });
    router_.add("GET", "/health", [](const auto&) { return text("ok"); });
    router_.add("POST", "/echo", [](const auto& request) { return text(request.body); });
    router_.add("GET", "/headers", [](const auto& request) {
      std::string all;
      for (const auto& [name, value] : request.headers) all += name + "=" + value + "\n";
      return text(all);
    });
    router_.add("GET", "/throw",
                [](const auto&) -> http::Response { throw std::runtime_error("secret"); });
    router_.add("GET", "/big", [](const auto&) { return text(std::string(1 << 20, 'x')); });
    router_.add("POST", "/wait", [this](const auto& request) {
      await_leaving(request.client_gone);
      return text("waited");
    });
    router_.add("GET", "/idle", [this](const auto&) {
      http::Response response;
      response.content_type = "text/event-stream";
      response.stream = [this](http::StreamWriter& writer) {
        if (!writer.write("data: x\n\n")) return;
        await_leaving([&] { return writer.client_gone(); });
      };
      return response;
    });
  }

  http::Router router_;
  std::unique_ptr<http::Listener> listener_;
  std::thread serving_;
  Error error_;
  int port_ = -1;
  std::mutex mutex_;
  std::condition_variable never_;
};

}  // namespace tristill::tests
