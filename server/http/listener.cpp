#include "server/http/listener.h"

#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <set>

#include "base/log.h"
#include "base/seconds_since.h"
#include "server/http/disconnects.h"
#include "server/http/error.h"
#include "server/http/socket.h"
#include "server/http/thread_pool.h"

namespace tristill::http {
namespace {

using Clock = std::chrono::steady_clock;

// The request that the current thread is answering.
struct Current {
  Connection* connection;
  Verdict verdict;
};
thread_local Current* current = nullptr;

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

}  // namespace

// The library parses one checked request at a time and writes the answer; sockets, threads and
// limits are ours.
class Listener::Server final : public httplib::Server {
 public:
  Server(const Router& router, ListenerOptions options,
         std::function<void(const Exchange&)> observe)
      : router_(router),
        options_(std::move(options)),
        observe_(std::move(observe)),
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
    if (auto checked = SitePolicy::check(options_.sites); !checked) return checked.error();
    if (auto loaded = reload(); !loaded) return loaded.error();
    auto handed = ListeningSocket::inherited();
    if (!handed) return handed.error();
    if (*handed) {
      socket_.emplace(std::move(**handed));
    } else {
      auto opened = ListeningSocket::open(options_.host, options_.port, options_.socket_mode);
      if (!opened) return opened.error();
      socket_.emplace(std::move(*opened));
    }
    sites_.emplace(options_.sites, socket_->is_local(), socket_->is_unix());
    svr_sock_ = socket_->fd();  // the library ends its streams when it has none
    return socket_->port();
  }

  std::string url() const {
    if (socket_->is_unix()) return socket_->address();
    return (options_.tls.any() ? "https://" : "http://") + socket_->address();
  }

  bool is_local() const { return socket_->is_local(); }

  Result<void> reload() {
    if (!options_.tls.any()) return {};
    auto loaded = Tls::load(options_.tls);
    if (!loaded) return loaded.error();
    const std::lock_guard lock(mutex_);
    tls_ = std::move(*loaded);
    return {};
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
    Membership(Server& server, int socket, const Tls* tls)
        : server_(server), connection_(socket, server.options_.limits, tls) {
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

  std::shared_ptr<const Tls> tls() {
    const std::lock_guard lock(mutex_);
    return tls_;
  }

  void converse(int socket) {
    Membership membership(*this, socket, tls().get());
    Connection& connection = membership.connection();
    Current answering{&connection, {}};
    current = &answering;
    const Connection::Gate gate = [&](const RequestHead& head) {
      answering.verdict = judge(head);
      return std::exchange(answering.verdict.refusal, std::nullopt);
    };
    for (;;) {
      answering.verdict = {};
      const auto arrival = connection.await_request(stopping_, gate);
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
    // A handshake would make the others wait: over TLS the connection just ends.
    if (!options_.tls.any()) {
      const char* reason = "too many connections; try again later";
      connection.turn_away(error_response(503, "", reason, "", "too_many_connections"));
    }
    observe_refused(connection);
    ::close(socket);
  }

  void observe_refused(const Connection& connection) const {
    observe_({connection.head().method, connection.head().path, "", connection.refused_status(), 0,
              connection.request_id(), current == nullptr ? "" : current->verdict.key_id});
  }

  // Decided by the head, so that nobody fills our memory with a body that will be refused.
  Verdict judge(const RequestHead& head) const {
    Verdict verdict;
    verdict.refusal = sites_->refusal_of(head);
    const bool asks_gate = !verdict.refusal && !SitePolicy::is_preflight(head) && options_.gate;
    if (asks_gate) verdict = options_.gate(head);
    sites_->mark(head, verdict.headers);
    if (verdict.refusal) {
      for (const auto& [name, value] : verdict.headers) verdict.refusal->headers[name] = value;
    }
    return verdict;
  }

  std::shared_ptr<Request> convert(const httplib::Request& from) {
    auto request = std::make_shared<Request>();
    request->method = from.method;
    request->path = current->connection->head().path;
    for (const auto& [key, value] : from.params) request->query.emplace(key, value);
    request->headers = current->connection->head().headers;
    request->body = from.body;
    request->request_id = current->connection->request_id();
    request->key_id = current->verdict.key_id;
    request->client_gone = [connection = current->connection] { return connection->client_gone(); };
    request->watch_client = [this, connection = current->connection](std::function<void()> wake) {
      return disconnects_.watch(connection->socket(), std::move(wake));
    };
    return request;
  }

  Response guarded(Request& request) const {
    try {
      const RequestHead& head = current->connection->head();
      if (SitePolicy::is_preflight(head)) return sites_->preflight_answer(head);
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
    if (current != nullptr) to.set_header("x-request-id", current->connection->request_id());
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
    for (const auto& [key, value] : current->verdict.headers) to.set_header(key, value);
    for (const auto& [key, value] : response->headers) to.set_header(key, value);
    to.set_header("x-request-id", request->request_id);
    const auto seconds = [started] { return seconds_since(started); };
    const auto finish = [this, request, status = response->status, seconds] {
      observe_({request->method, request->path, request->route, status, seconds(),
                request->request_id, request->key_id});
    };
    if (request->method == "HEAD") response->stream = nullptr;
    if (response->stream && from.version == "HTTP/1.0") {
      BodyWriter writer(*current->connection);
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
    to.set_chunked_content_provider(response->content_type,
                                    [response, connection = current->connection, finish, request](
                                        size_t, httplib::DataSink& sink) {
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
  std::optional<ListeningSocket> socket_;
  std::optional<SitePolicy> sites_;  // with the socket
  std::atomic<bool> stopping_{false};

  Disconnects disconnects_;

  std::mutex mutex_;  // guards tls_ and connections_
  std::shared_ptr<const Tls> tls_;  // null: plain HTTP
  std::condition_variable none_left_;
  std::set<Connection*> connections_;

  ThreadPool threads_;  // last: its threads use what is above
};

Listener::Listener(const Router& router, ListenerOptions options,
                   std::function<void(const Exchange&)> observe)
    : server_(std::make_unique<Server>(router, std::move(options), std::move(observe))) {}

Listener::~Listener() = default;

Result<int> Listener::bind() { return server_->bind(); }

std::string Listener::url() const { return server_->url(); }

bool Listener::is_local() const { return server_->is_local(); }

Result<void> Listener::reload() { return server_->reload(); }

void Listener::serve() { server_->serve(); }

void Listener::stop() { server_->stop(); }

}  // namespace tristill::http
