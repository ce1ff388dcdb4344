#include "server/http/listener.h"

#include <openssl/crypto.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "base/log.h"
#include "base/random.h"
#include "base/sha256.h"
#include "server/http/error.h"
#include "server/http/request_id.h"

namespace tristill::http {
namespace {

constexpr int kBacklog = 1024;

// The connection whose request the current thread is answering.
thread_local Connection* current = nullptr;

// Threads come with work and leave when idle, so that a slow client never blocks another.
class ElasticPool final : public httplib::TaskQueue {
 public:
  explicit ElasticPool(size_t max_threads) : max_threads_(max_threads) {}

  void enqueue(std::function<void()> task) override {
    const std::lock_guard lock(mutex_);
    tasks_.push_back(std::move(task));
    if (idle_ < tasks_.size() && threads_ < max_threads_) {
      ++threads_;
      std::thread([this] { work(); }).detach();
    }
    wake_.notify_one();
  }

  void shutdown() override {
    std::unique_lock lock(mutex_);
    stopping_ = true;
    wake_.notify_all();
    all_left_.wait(lock, [this] { return threads_ == 0; });
  }

 private:
  void work() {
    std::unique_lock lock(mutex_);
    for (;;) {
      ++idle_;
      wake_.wait_for(lock, std::chrono::seconds(5),
                     [this] { return stopping_ || !tasks_.empty(); });
      --idle_;
      if (tasks_.empty()) break;
      auto task = std::move(tasks_.front());
      tasks_.pop_front();
      lock.unlock();
      task();
      lock.lock();
    }
    if (--threads_ == 0) all_left_.notify_all();
  }

  std::mutex mutex_;  // guards what follows
  std::condition_variable wake_, all_left_;
  std::deque<std::function<void()>> tasks_;
  size_t idle_ = 0;
  size_t threads_ = 0;
  const size_t max_threads_;
  bool stopping_ = false;
};

class ChunkWriter final : public StreamWriter {
 public:
  ChunkWriter(httplib::DataSink& sink, Connection& connection)
      : sink_(sink), connection_(connection) {}
  bool write(std::string_view bytes) override {
    return sink_.write(bytes.data(), bytes.size()) && connection_.flush();
  }
  bool client_gone() const override { return connection_.client_gone(); }

 private:
  httplib::DataSink& sink_;
  Connection& connection_;
};

}  // namespace

class Listener::Server final : public httplib::Server {
 public:
  Server(const Router& router, ListenerOptions options,
         std::function<void(const Exchange&)> observe)
      : router_(router), options_(std::move(options)), observe_(std::move(observe)) {
    new_task_queue = [this] { return new ElasticPool(options_.max_connections); };
    set_tcp_nodelay(true);
    set_payload_max_length(options_.limits.body_bytes);
    // SO_REUSEADDR alone: the library's default also shares the port with another daemon.
    set_socket_options([](socket_t socket) {
      const int yes = 1;
      ::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    });
    const auto handler = [this](const httplib::Request& from, httplib::Response& to) {
      answer(from, to);
    };
    Get(".*", handler).Post(".*", handler).Put(".*", handler).Patch(".*", handler);
    Delete(".*", handler).Options(".*", handler);
  }

  Result<int> bind() {
    const int port = options_.port == 0                           ? bind_to_any_port(options_.host)
                     : bind_to_port(options_.host, options_.port) ? options_.port
                                                                  : -1;
    if (port < 0) {
      return Error{ErrorCode::unavailable,
                   "cannot listen on " + options_.host + ":" + std::to_string(options_.port) +
                       ": " + std::strerror(errno) +
                       "; stop what uses the port, or give another with --port (0: any free one)",
                   "port"};
    }
    ::listen(svr_sock_, kBacklog);
    return port;
  }

  void stop_listening() {
    stopping_ = true;
    stop();
  }

 private:
  bool process_and_close_socket(socket_t socket) override {
    Connection connection(static_cast<int>(socket), options_.limits);
    current = &connection;
    while (connection.await_request(stopping_) == Connection::Arrival::request) {
      bool closed = false;
      const bool last = stopping_;
      const bool answered = process_request(
          connection, last, closed, [](httplib::Request& request) { request.ranges.clear(); });
      if (!connection.flush() || !answered || closed || last) break;
    }
    current = nullptr;
    ::shutdown(static_cast<int>(socket), SHUT_RDWR);
    ::close(static_cast<int>(socket));
    return true;
  }

  static Request convert(const httplib::Request& from) {
    Request request;
    request.method = from.method;
    request.path = from.path;
    for (const auto& [key, value] : from.params) request.query.emplace(key, value);
    for (const auto& [key, value] : from.headers) {
      std::string name = key;
      for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      request.headers.emplace(std::move(name), value);
    }
    request.body = from.body;
    request.request_id = request_id_for(current->raw_header("x-request-id"));
    Connection* const connection = current;
    request.client_gone = [connection] { return connection->client_gone(); };
    return request;
  }

  bool is_authorized(const std::string& path) const {
    if (options_.api_key_sha256.empty()) return true;
    if (path == "/health" || path == "/livez" || path == "/readyz") return true;
    const std::string header = current->raw_header("authorization");
    constexpr std::string_view kBearer = "Bearer ";
    if (!header.starts_with(kBearer)) return false;
    const std::string given = to_hex(sha256(std::string_view(header).substr(kBearer.size())));
    return given.size() == options_.api_key_sha256.size() &&
           CRYPTO_memcmp(given.data(), options_.api_key_sha256.data(), given.size()) == 0;
  }

  Response guarded(Request& request) const {
    if (!is_authorized(request.path)) {
      return error_response(401, "", "missing or wrong API key; send Authorization: Bearer KEY", "",
                            "");
    }
    try {
      return router_.route(request);
    } catch (const std::exception& failure) {
      log_error(
          "request failed",
          {{"request", request.request_id}, {"path", request.path}, {"reason", failure.what()}});
      return error_response(
          500, "", "internal error; request " + request.request_id + " is in the log", "", "");
    }
  }

  void answer(const httplib::Request& from, httplib::Response& to) {
    const auto started = std::chrono::steady_clock::now();
    auto request = std::make_shared<Request>(convert(from));
    auto response = std::make_shared<Response>(guarded(*request));
    to.status = response->status;
    for (const auto& [key, value] : response->headers) to.set_header(key, value);
    to.set_header("x-request-id", request->request_id);
    const auto seconds = [started] {
      return std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
    };
    const auto finish = [this, request, status = response->status, seconds] {
      observe_({request->method, request->path, status, seconds(), request->request_id});
    };
    if (!response->stream) {
      to.set_header("openai-processing-ms", std::to_string(static_cast<int64_t>(seconds() * 1000)));
      to.set_content(std::move(response->body), response->content_type);
      finish();
      return;
    }
    to.set_header("Cache-Control", "no-cache");
    to.set_header("X-Accel-Buffering", "no");
    Connection* const connection = current;
    to.set_chunked_content_provider(response->content_type, [response, connection, finish, request](
                                                                size_t, httplib::DataSink& sink) {
      ChunkWriter writer(sink, *connection);
      try {
        response->stream(writer);
      } catch (const std::exception& failure) {
        log_error("stream failed", {{"request", request->request_id}, {"reason", failure.what()}});
      }
      sink.done();
      finish();
      return true;
    });
  }

  const Router& router_;
  const ListenerOptions options_;
  const std::function<void(const Exchange&)> observe_;
  std::atomic<bool> stopping_{false};
};

Listener::Listener(const Router& router, ListenerOptions options,
                   std::function<void(const Exchange&)> observe)
    : server_(std::make_unique<Server>(router, std::move(options), std::move(observe))) {}

Listener::~Listener() = default;

Result<int> Listener::bind() { return server_->bind(); }

void Listener::serve() { server_->listen_after_bind(); }

void Listener::stop() { server_->stop_listening(); }

}  // namespace tristill::http
