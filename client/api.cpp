#include "client/api.h"

#include <curl/curl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <exception>
#include <vector>

#include "client/interrupt.h"

namespace tristill::client {
namespace {

constexpr size_t kMaxAnswerBytes = size_t{256} << 20;
constexpr long kConnectMs = 5000;

struct CurlFree {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
  void operator()(CURLU* url) const { curl_url_cleanup(url); }
  void operator()(CURL* handle) const { curl_easy_cleanup(handle); }
};
using HeaderList = std::unique_ptr<curl_slist, CurlFree>;

void add_header(HeaderList& list, const std::string& line) {
  curl_slist* grown = curl_slist_append(list.get(), line.c_str());
  if (grown == nullptr) throw Failure(kExitResource, "out of memory");
  (void)list.release();
  list.reset(grown);
}

// Where one call's bytes go: to the reader while the status is 200, else into the body.
struct Receiver {
  CURL* handle = nullptr;
  std::function<bool(std::string_view)> reader;  // false: enough; may throw
  std::string body;
  bool stopped = false;
  bool too_long = false;
  std::exception_ptr thrown;  // by the reader: libcurl is C, so it waits until that has returned
};

size_t receive(char* bytes, size_t one, size_t n, void* target) {
  auto& to = *static_cast<Receiver*>(target);
  const std::string_view piece(bytes, one * n);
  long status = 0;
  curl_easy_getinfo(to.handle, CURLINFO_RESPONSE_CODE, &status);
  if (to.reader && status == 200) {
    try {
      to.stopped = !to.reader(piece);
    } catch (...) {
      to.thrown = std::current_exception();
    }
    return to.stopped || to.thrown ? 0 : piece.size();
  }
  if (to.body.size() + piece.size() > kMaxAnswerBytes) {
    to.too_long = true;
    return 0;
  }
  to.body += piece;
  return piece.size();
}

int stop_when_interrupted(void*, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  return interrupted() ? 1 : 0;
}

bool is_loopback(std::string_view host) {
  return host == "localhost" || host == "[::1]" || host.starts_with("127.");
}

struct CallSpec {
  std::string method;
  std::string path;
  std::string_view content_type;  // empty: no body
  std::string_view body;
  std::vector<std::string> headers = {};
};

struct CallEnd {
  CURLcode code = CURLE_OK;
  long status = 0;     // 0: none came
  std::string reason;  // where code is no CURLE_OK
};

}  // namespace

struct Api::Impl {
  ApiOptions options;
  std::string base;    // what a path is appended to
  std::string socket;  // of unix:, else empty
  bool loopback = false;
  std::unique_ptr<CURL, CurlFree> handle;
  std::string broken_reason;

  void take_server();
  void prepare(const CallSpec& call, HeaderList& headers, Receiver& receiver);
  CallEnd perform(const CallSpec& call, Receiver& receiver);
  // The body of an answer 2xx.
  std::string call(const CallSpec& call);
  Json call_json(const CallSpec& spec);
  std::string unreachable(CURLcode code, const char* detail) const;
};

Api::Api(ApiOptions options) : impl_(std::make_unique<Impl>()) {
  if (options.api_key.find_first_of("\r\n") != std::string::npos) {
    throw Failure(kExitUsage, "the API key holds a line break", "api_key");
  }
  if (!options.ca_file.empty() && access(options.ca_file.c_str(), R_OK) != 0) {
    throw Failure(errno == ENOENT ? kExitNotFound : kExitPermission,
                  "--ca-file \"" + options.ca_file + "\": " + std::strerror(errno), "ca_file");
  }
  impl_->options = std::move(options);
  impl_->take_server();
  impl_->handle.reset(curl_easy_init());
  if (impl_->handle == nullptr) throw Failure(kExitResource, "libcurl cannot start");
}

Api::~Api() = default;

void Api::Impl::take_server() {
  std::string& server = options.server;
  const auto refuse = [&] {
    throw Failure(kExitUsage,
                  "--server \"" + server + "\" is not a URL; accepted is http://HOST:PORT, " +
                      "https://HOST:PORT or unix:/PATH/OF/SOCKET",
                  "server");
  };
  if (server.starts_with("unix:")) {
    socket = server.substr(5);
    if (socket.starts_with("//")) socket.erase(0, 2);  // unix:///path
    if (!socket.starts_with('/')) refuse();
    server = "unix:" + socket;
    base = "http://localhost";
    return;
  }
  while (server.ends_with('/')) server.pop_back();
  if (server.ends_with("/v1")) server.resize(server.size() - 3);
  base = server;
  std::unique_ptr<CURLU, CurlFree> url(curl_url());
  char* host = nullptr;
  char* scheme = nullptr;
  const bool parsed = url != nullptr &&
                      curl_url_set(url.get(), CURLUPART_URL, server.c_str(), 0) == 0 &&
                      curl_url_get(url.get(), CURLUPART_HOST, &host, 0) == 0 &&
                      curl_url_get(url.get(), CURLUPART_SCHEME, &scheme, 0) == 0;
  const std::string host_name = host == nullptr ? "" : host;
  const std::string scheme_name = scheme == nullptr ? "" : scheme;
  curl_free(host);
  curl_free(scheme);
  if (!parsed || host_name.empty() || (scheme_name != "http" && scheme_name != "https")) refuse();
  loopback = is_loopback(host_name);
}

void Api::Impl::prepare(const CallSpec& call, HeaderList& headers, Receiver& receiver) {
  CURL* curl = handle.get();
  curl_easy_reset(curl);
  receiver.handle = curl;
  add_header(headers, "Expect:");  // no 100-continue round trip
  if (!options.api_key.empty()) add_header(headers, "Authorization: Bearer " + options.api_key);
  if (!call.content_type.empty()) {
    add_header(headers, "Content-Type: " + std::string(call.content_type));
  }
  for (const std::string& line : call.headers) add_header(headers, line);
  curl_easy_setopt(curl, CURLOPT_URL, (base + call.path).c_str());
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  if (!socket.empty()) curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, socket.c_str());
  if (!options.ca_file.empty()) {
    curl_easy_setopt(curl, CURLOPT_CAINFO, options.ca_file.c_str());
    curl_easy_setopt(curl, CURLOPT_CAPATH, nullptr);  // none but these are trusted
  }
  if (loopback || !socket.empty()) curl_easy_setopt(curl, CURLOPT_PROXY, "");
  if (call.method == "POST") {
    curl_easy_setopt(curl, CURLOPT_POST, 1L);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(call.body.size()));
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, call.body.data());
  } else if (call.method != "GET") {
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, call.method.c_str());
  }
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers.get());
  curl_easy_setopt(curl, CURLOPT_USERAGENT, "tristill/0.1");
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, kConnectMs);
  curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, options.timeout_ms);
  curl_easy_setopt(curl, CURLOPT_TCP_KEEPALIVE, 1L);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, receive);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &receiver);
  curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, stop_when_interrupted);
}

std::string Api::Impl::unreachable(CURLcode code, const char* detail) const {
  std::string text = "cannot reach " + options.server + ": " +
                     (detail != nullptr && *detail != '\0' ? detail : curl_easy_strerror(code));
  if (code == CURLE_COULDNT_CONNECT) {
    text += "; is tristilld running? start it with ./dev serve, or name another with --server";
  } else if (code == CURLE_COULDNT_RESOLVE_HOST) {
    text += "; check the host of --server";
  } else if (code == CURLE_PEER_FAILED_VERIFICATION) {
    text += "; name the certificate that vouches for it with --ca-file";
  }
  return text;
}

CallEnd Api::Impl::perform(const CallSpec& call, Receiver& receiver) {
  HeaderList headers;
  char detail[CURL_ERROR_SIZE] = "";
  prepare(call, headers, receiver);
  curl_easy_setopt(handle.get(), CURLOPT_ERRORBUFFER, detail);
  CallEnd end;
  end.code = curl_easy_perform(handle.get());
  curl_easy_setopt(handle.get(), CURLOPT_ERRORBUFFER, nullptr);
  curl_easy_getinfo(handle.get(), CURLINFO_RESPONSE_CODE, &end.status);
  if (end.code != CURLE_OK) end.reason = unreachable(end.code, detail);
  if (receiver.thrown) std::rethrow_exception(receiver.thrown);
  if (receiver.too_long) throw Failure(kExitUnavailable, options.server + " answers too much");
  return end;
}

std::string Api::Impl::call(const CallSpec& spec) {
  Receiver receiver;
  const CallEnd end = perform(spec, receiver);
  if (interrupted()) throw Failure(kExitInterrupted, "interrupted");
  // A daemon that refuses a body closes before it has read all: its answer counts.
  if (end.code != CURLE_OK && !(end.status >= 400 && !receiver.body.empty())) {
    throw Failure(kExitUnavailable, end.reason);
  }
  if (end.status < 200 || end.status >= 300) throw failure_of(end.status, receiver.body);
  return std::move(receiver.body);
}

Json Api::Impl::call_json(const CallSpec& spec) {
  Json answer = Json::parse(call(spec), nullptr, false);
  if (answer.is_discarded()) {
    throw Failure(kExitUnavailable,
                  options.server + spec.path + " does not answer JSON; is --server a tristilld?");
  }
  return answer;
}

Json Api::get(const std::string& path) {
  return impl_->call_json({.method = "GET", .path = path, .content_type = {}, .body = {}});
}

std::string Api::get_text(const std::string& path) {
  return impl_->call({.method = "GET", .path = path, .content_type = {}, .body = {}});
}

Json Api::post(const std::string& path, const Json& body) {
  return post_bytes(path, "application/json", body.dump());
}

Json Api::post_bytes(const std::string& path, std::string_view type, std::string_view bytes) {
  return impl_->call_json({.method = "POST", .path = path, .content_type = type, .body = bytes});
}

Json Api::remove(const std::string& path) {
  return impl_->call_json({.method = "DELETE", .path = path, .content_type = {}, .body = {}});
}

void Api::post_lines(const std::string& path, const Json& body,
                     const std::function<void(const Json& line)>& on_line) {
  std::string open_line;
  const auto take = [&](std::string_view line) {
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) return;
    const Json value = Json::parse(line, nullptr, false);
    if (value.is_discarded()) {
      throw Failure(kExitUnavailable, server() + path + " does not answer JSON Lines");
    }
    on_line(value);
  };
  Receiver receiver;
  receiver.reader = [&](std::string_view piece) {
    for (size_t end; (end = piece.find('\n')) != std::string_view::npos;
         piece.remove_prefix(end + 1)) {
      open_line += piece.substr(0, end);
      take(open_line);
      open_line.clear();
    }
    if (open_line.size() + piece.size() > kMaxAnswerBytes) {
      throw Failure(kExitUnavailable, server() + " answers too much");
    }
    open_line += piece;
    return true;
  };
  const std::string bytes = body.dump();
  const CallEnd end = impl_->perform({.method = "POST",
                                      .path = path,
                                      .content_type = "application/json",
                                      .body = bytes,
                                      .headers = {"Accept: application/x-ndjson"}},
                                     receiver);
  if (interrupted()) throw Failure(kExitInterrupted, "interrupted");
  if (end.status != 0 && end.status != 200) throw failure_of(end.status, receiver.body);
  if (end.code != CURLE_OK) throw Failure(kExitUnavailable, end.reason);
  take(open_line);
}

StreamEnd Api::stream(const StreamRequest& request,
                      const std::function<bool(const SseEvent&)>& on_event) {
  SseParser parser;
  Receiver receiver;
  receiver.reader = [&](std::string_view piece) { return parser.feed(piece, on_event); };
  CallSpec call{.method = request.method,
                .path = request.path,
                .content_type = request.method == "POST" ? "application/json" : "",
                .body = request.body,
                .headers = {"Accept: text/event-stream"}};
  if (!request.last_event_id.empty()) {
    call.headers.push_back("Last-Event-ID: " + request.last_event_id);
  }
  const CallEnd end = impl_->perform(call, receiver);
  if (parser.too_long())
    throw Failure(kExitUnavailable, "an event of " + server() + " is too long");
  if (receiver.stopped || interrupted()) return StreamEnd::stopped;
  if (end.status != 0 && end.status != 200) throw failure_of(end.status, receiver.body);
  if (end.code == CURLE_OK && end.status == 200) return StreamEnd::finished;
  impl_->broken_reason = end.reason;
  return StreamEnd::broken;
}

const std::string& Api::broken_reason() const { return impl_->broken_reason; }
const std::string& Api::server() const { return impl_->options.server; }

std::string percent_encode(std::string_view text) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '_' || c == '.' || c == '~';
    if (plain) {
      out += c;
    } else {
      const auto byte = static_cast<unsigned char>(c);
      out += {'%', kHex[byte >> 4], kHex[byte & 15]};
    }
  }
  return out;
}

ExitCode exit_of_status(long status) {
  switch (status) {
    case 401:
    case 403: return kExitPermission;
    case 404: return kExitNotFound;
    case 408:
    case 429:
    case 502:
    case 503:
    case 504: return kExitUnavailable;
    case 409: return kExitConflict;
    case 507: return kExitResource;
    default: break;
  }
  return status >= 400 && status < 500 ? kExitUsage : kExitDefect;
}

Failure failure_of(long status, std::string_view body) {
  Failure failure(exit_of_status(status), "");
  const Json parsed = Json::parse(body, nullptr, false);
  const Json* error = nullptr;
  if (parsed.is_object()) {
    const auto found = parsed.find("error");
    if (found != parsed.end() && found->is_object()) error = &*found;
  }
  const auto text = [&](const char* key) -> std::string {
    if (error == nullptr) return "";
    const auto found = error->find(key);
    return found != error->end() && found->is_string() ? found->get<std::string>() : "";
  };
  failure.message = text("message");
  failure.param = text("param");
  failure.code = text("code");
  if (failure.message.empty()) {
    failure.message = "the daemon answered " + std::to_string(status) + " without saying why";
  }
  if (status == 401) {
    failure.message += "; give the key with --api-key-file, TRISTILL_API_KEY or a profile";
  }
  return failure;
}

}  // namespace tristill::client
