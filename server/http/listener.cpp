#include "server/http/listener.h"

#include <openssl/crypto.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <set>

#include "base/log.h"
#include "base/sha256.h"
#include "server/http/error.h"
#include "server/http/socket.h"
#include "server/http/thread_pool.h"

namespace tristill::http {
namespace {

using Clock = std::chrono::steady_clock;

// The connection whose request the current thread is answering.
thread_local Connection* current = nullptr;

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

// For HTTP/1.0, which knows no chunks: the stream as one body.
class BodyWriter final : public StreamWriter {
 public:
  explicit BodyWriter(Connection& connection) : connection_(connection) {}
  bool write(std::string_view bytes) override {
    body += bytes;
    return !connection_.client_gone();
  }
  bool client_gone() const override { return connection_.client_gone(); }
  std::string body;

 private:
  Connection& connection_;
};

// "http://localhost:8080" -> "localhost"; without scheme and port.
std::string_view host_of(std::string_view origin) {
  if (const size_t scheme = origin.find("://"); scheme != origin.npos) {
    origin.remove_prefix(scheme + 3);
  }
  if (origin.starts_with('[')) return origin.substr(0, origin.find(']') + 1);
  return origin.substr(0, origin.find(':'));
}

// Pages of other sites must not start jobs through the browser of someone who runs a daemon.
bool is_foreign(const RequestHead& head) {
  const std::string origin = head.header("origin");
  if (origin.empty() || head.method == "GET" || head.method == "HEAD") return false;
  const std::string_view from = host_of(origin);
  return from != "localhost" && from != "127.0.0.1" && from != "[::1]" &&
         from != host_of(head.header("host"));
}

}  // namespace

// The library parses one checked request at a time and writes the answer; sockets, threads, limits
// and keys are ours.
class Listener::Server final : public httplib::Server {
 public:
  Server(const Router& router, ListenerOptions options,
         std::function<void(const Exchange&)> observe)
      : router_(router),
        options_(std::move(options)),
        observe_(std::move(observe)),
        gate_([this](const RequestHead& head) { return refusal_of(head); }),
        threads_(options_.max_connections) {
    const auto idle = std::chrono::duration_cast<std::chrono::seconds>(options_.limits.idle_time);
    set_keep_alive_timeout(idle.count());
    set_keep_alive_max_count(1000000);
    set_payload_max_length(options_.limits.body_bytes);
    const auto handler = [this](const httplib::Request& from, httplib::Response& to) {
      answer(from, to);
    };
    Get(".*", handler).Post(".*", handler).Put(".*", handler).Patch(".*", handler);
    Delete(".*", handler).Options(".*", handler);
    set_exception_handler([](const httplib::Request&, httplib::Response& to, std::exception_ptr) {
      answer_without_route(to, 500);
    });
    set_error_handler([](const httplib::Request&, httplib::Response& to) {
      if (to.body.empty()) answer_without_route(to, to.status);
    });
  }

  Result<int> bind() {
    auto opened = ListeningSocket::open(options_.host, options_.port);
    if (!opened) return opened.error();
    socket_.emplace(std::move(*opened));
    svr_sock_ = socket_->fd();  // the library ends its streams when it has none
    return socket_->port();
  }

  void serve() {
    while (!stopping_) {
      const int client = socket_->accept();
      if (client < 0) break;
      if (!threads_.submit([this, client] { converse(client); })) turn_away(client);
    }
    threads_.finish();
  }

  void stop() {
    std::unique_lock lock(mutex_);
    stopping_ = true;
    socket_->close();
    for (Connection* connection : connections_) connection->interrupt();
    const auto all_gone = [this] { return connections_.empty(); };
    if (none_left_.wait_for(lock, options_.stop_grace, all_gone)) return;
    for (Connection* connection : connections_) connection->abort();
  }

 private:
  // A connection that stop() can reach while it lives, and its socket.
  class Membership {
   public:
    Membership(Server& server, int socket)
        : server_(server), connection_(socket, server.options_.limits) {
      const std::lock_guard lock(server_.mutex_);
      server_.connections_.insert(&connection_);
    }
    ~Membership() {
      const std::lock_guard lock(server_.mutex_);
      server_.connections_.erase(&connection_);
      connection_.abort();
      ::close(connection_.socket());
      server_.none_left_.notify_all();
    }
    Membership(const Membership&) = delete;
    Membership& operator=(const Membership&) = delete;
    Connection& connection() { return connection_; }

   private:
    Server& server_;
    Connection connection_;
  };

  void converse(int socket) {
    Membership membership(*this, socket);
    Connection& connection = membership.connection();
    current = &connection;
    for (;;) {
      const auto arrival = connection.await_request(stopping_, gate_);
      if (arrival == Connection::Arrival::refused) observe_refused(connection);
      if (arrival != Connection::Arrival::request) break;
      bool closed = false;
      const bool last = stopping_;
      const bool answered = process_request(connection, last, closed, nullptr);
      if (!connection.flush() || !answered || closed || last) break;
    }
    current = nullptr;
  }

  void turn_away(int socket) {
    Connection connection(socket, options_.limits);
    connection.turn_away(error_response(503, "", "too many connections; try again later", "", ""));
    observe_refused(connection);
    ::close(socket);
  }

  void observe_refused(const Connection& connection) const {
    observe_({connection.head().method, std::string(connection.head().raw_path()), "",
              connection.refused_status(), 0, connection.request_id()});
  }

  // Decided by the head, so that nobody fills our memory with a body that will be refused.
  std::optional<Response> refusal_of(const RequestHead& head) const {
    if (is_foreign(head)) {
      return error_response(403, "", "requests from pages of another site are refused", "", "");
    }
    if (is_authorized(head)) return std::nullopt;
    return error_response(401, "", "missing or wrong API key; send Authorization: Bearer KEY", "",
                          "");
  }

  bool is_authorized(const RequestHead& head) const {
    if (options_.api_key_sha256.empty()) return true;
    const std::string_view path = head.raw_path();
    if (path == "/health" || path == "/livez" || path == "/readyz") return true;
    const std::string header = head.header("authorization");
    constexpr std::string_view kBearer = "bearer ";
    if (lower_case(header.substr(0, kBearer.size())) != kBearer) return false;
    const std::string given = to_hex(sha256(std::string_view(header).substr(kBearer.size())));
    return given.size() == options_.api_key_sha256.size() &&
           CRYPTO_memcmp(given.data(), options_.api_key_sha256.data(), given.size()) == 0;
  }

  static std::shared_ptr<Request> convert(const httplib::Request& from) {
    auto request = std::make_shared<Request>();
    request->method = from.method;
    request->path = from.path;
    for (const auto& [key, value] : from.params) request->query.emplace(key, value);
    request->headers = current->head().headers;
    request->body = from.body;
    request->request_id = current->request_id();
    request->client_gone = [connection = current] { return connection->client_gone(); };
    return request;
  }

  Response guarded(Request& request) const {
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

  static void run_stream(const Response& response, StreamWriter& writer, const Request& request) {
    try {
      response.stream(writer);
    } catch (const std::exception& failure) {
      log_error("stream failed", {{"request", request.request_id}, {"reason", failure.what()}});
    }
  }

  static void answer_without_route(httplib::Response& to, int status) {
    to.headers.clear();
    if (current != nullptr) to.set_header("x-request-id", current->request_id());
    to.status = status;
    to.set_content(error_response(status, "", std::string(reason_of(status)), "", "").body,
                   "application/json");
  }

  void answer(const httplib::Request& from, httplib::Response& to) {
    const auto started = Clock::now();
    auto request = convert(from);
    auto response = std::make_shared<Response>(guarded(*request));
    to.status = response->status;
    if (response->stream) {
      response->headers.emplace("Cache-Control", "no-cache");
      response->headers.emplace("X-Accel-Buffering", "no");
    }
    for (const auto& [key, value] : response->headers) to.set_header(key, value);
    to.set_header("x-request-id", request->request_id);
    const auto seconds = [started] {
      return std::chrono::duration<double>(Clock::now() - started).count();
    };
    const auto finish = [this, request, status = response->status, seconds] {
      observe_(
          {request->method, request->path, request->route, status, seconds(), request->request_id});
    };
    if (request->method == "HEAD") response->stream = nullptr;
    if (response->stream && from.version == "HTTP/1.0") {
      BodyWriter writer(*current);
      run_stream(*response, writer, *request);
      response->stream = nullptr;
      response->body = std::move(writer.body);
    }
    if (!response->stream) {
      const auto ms = static_cast<int64_t>(seconds() * 1000);
      to.set_header("openai-processing-ms", std::to_string(ms));
      to.set_content(std::move(response->body), response->content_type);
      finish();
      return;
    }
    to.set_chunked_content_provider(
        response->content_type,
        [response, connection = current, finish, request](size_t, httplib::DataSink& sink) {
          ChunkWriter writer(sink, *connection);
          run_stream(*response, writer, *request);
          sink.done();
          finish();
          return true;
        });
  }

  const Router& router_;
  const ListenerOptions options_;
  const std::function<void(const Exchange&)> observe_;
  const Connection::Gate gate_;
  std::optional<ListeningSocket> socket_;
  std::atomic<bool> stopping_{false};

  std::mutex mutex_;  // guards connections_
  std::condition_variable none_left_;
  std::set<Connection*> connections_;

  ThreadPool threads_;  // last: its threads use what is above
};

Listener::Listener(const Router& router, ListenerOptions options,
                   std::function<void(const Exchange&)> observe)
    : server_(std::make_unique<Server>(router, std::move(options), std::move(observe))) {}

Listener::~Listener() = default;

Result<int> Listener::bind() { return server_->bind(); }

void Listener::serve() { server_->serve(); }

void Listener::stop() { server_->stop(); }

}  // namespace tristill::http
