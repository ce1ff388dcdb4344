#include "client/api.h"

#include <curl/curl.h>

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

// Where one call's bytes go: to the parser while the status is 200, else into the body.
struct Receiver {
  CURL* handle = nullptr;
  std::string body;
  SseParser parser;
  const std::function<bool(const SseEvent&)>* on_event = nullptr;
  bool stopped = false;
  bool too_long = false;
};

size_t receive(char* bytes, size_t one, size_t n, void* target) {
  auto& to = *static_cast<Receiver*>(target);
  const std::string_view piece(bytes, one * n);
  long status = 0;
  curl_easy_getinfo(to.handle, CURLINFO_RESPONSE_CODE, &status);
  if (to.on_event != nullptr && status == 200) {
    if (!to.parser.feed(piece, *to.on_event)) {
      to.stopped = !to.parser.too_long();
      to.too_long = to.parser.too_long();
      return 0;
    }
    return piece.size();
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

}  // namespace

struct Api::Impl {
  ApiOptions options;
  bool loopback = false;
  std::unique_ptr<CURL, CurlFree> handle;
  std::string broken_reason;

  void prepare(const StreamRequest& request, std::string_view content_type, std::string_view body,
               HeaderList& headers, Receiver& receiver);
  Json call(const std::string& method, const std::string& path, std::string_view content_type,
            std::string_view body);
  std::string unreachable(CURLcode code, const char* detail) const;
};

Api::Api(ApiOptions options) : impl_(std::make_unique<Impl>()) {
  while (options.server.ends_with('/')) options.server.pop_back();
  if (options.server.ends_with("/v1")) options.server.resize(options.server.size() - 3);
  std::unique_ptr<CURLU, CurlFree> url(curl_url());
  char* host = nullptr;
  char* scheme = nullptr;
  const bool parsed = url != nullptr &&
                      curl_url_set(url.get(), CURLUPART_URL, options.server.c_str(), 0) == 0 &&
                      curl_url_get(url.get(), CURLUPART_HOST, &host, 0) == 0 &&
                      curl_url_get(url.get(), CURLUPART_SCHEME, &scheme, 0) == 0;
  const std::string host_name = host == nullptr ? "" : host;
  const std::string scheme_name = scheme == nullptr ? "" : scheme;
  curl_free(host);
  curl_free(scheme);
  if (!parsed || host_name.empty() || (scheme_name != "http" && scheme_name != "https")) {
    throw Failure(kExitUsage,
                  "--server \"" + options.server +
                      "\" is not a URL; accepted is http://HOST:PORT or https://HOST:PORT",
                  "server");
  }
  if (options.api_key.find_first_of("\r\n") != std::string::npos) {
    throw Failure(kExitUsage, "the API key holds a line break", "api_key");
  }
  impl_->loopback = is_loopback(host_name);
  impl_->options = std::move(options);
  impl_->handle.reset(curl_easy_init());
  if (impl_->handle == nullptr) throw Failure(kExitResource, "libcurl cannot start");
}

Api::~Api() = default;

void Api::Impl::prepare(const StreamRequest& request, std::string_view content_type,
                        std::string_view body, HeaderList& headers, Receiver& receiver) {
  CURL* curl = handle.get();
  curl_easy_reset(curl);
  receiver.handle = curl;
  add_header(headers, "Expect:");  // no 100-continue round trip
  if (!options.api_key.empty()) add_header(headers, "Authorization: Bearer " + options.api_key);
  if (!content_type.empty()) add_header(headers, "Content-Type: " + std::string(content_type));
  if (receiver.on_event != nullptr) add_header(headers, "Accept: text/event-stream");
  if (!request.last_event_id.empty()) {
    add_header(headers, "Last-Event-ID: " + request.last_event_id);
  }
  curl_easy_setopt(curl, CURLOPT_URL, (options.server + request.path).c_str());
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  if (loopback) curl_easy_setopt(curl, CURLOPT_PROXY, "");
  if (request.method == "POST") {
    curl_easy_setopt(curl, CURLOPT_POST, 1L);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body.size()));
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body.data());
  } else if (request.method != "GET") {
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, request.method.c_str());
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
  }
  return text;
}

Json Api::Impl::call(const std::string& method, const std::string& path,
                     std::string_view content_type, std::string_view body) {
  HeaderList headers;
  Receiver receiver;
  char detail[CURL_ERROR_SIZE] = "";
  prepare({.method = method, .path = path, .body = {}, .last_event_id = {}}, content_type, body,
          headers, receiver);
  curl_easy_setopt(handle.get(), CURLOPT_ERRORBUFFER, detail);
  const CURLcode code = curl_easy_perform(handle.get());
  curl_easy_setopt(handle.get(), CURLOPT_ERRORBUFFER, nullptr);
  if (interrupted()) die_of_interrupt();
  long status = 0;
  curl_easy_getinfo(handle.get(), CURLINFO_RESPONSE_CODE, &status);
  if (receiver.too_long) throw Failure(kExitUnavailable, options.server + " answers too much");
  // A daemon that refuses a body closes before it has read all: its answer counts.
  if (code != CURLE_OK && !(status >= 400 && !receiver.body.empty())) {
    throw Failure(kExitUnavailable, unreachable(code, detail));
  }
  if (status < 200 || status >= 300) throw failure_of(status, receiver.body);
  Json answer = Json::parse(receiver.body, nullptr, false);
  if (answer.is_discarded()) {
    throw Failure(kExitUnavailable,
                  options.server + path + " does not answer JSON; is --server a tristilld?");
  }
  return answer;
}

Json Api::get(const std::string& path) { return impl_->call("GET", path, "", ""); }

Json Api::post(const std::string& path, const Json& body) {
  return post_bytes(path, "application/json", body.dump());
}

Json Api::post_bytes(const std::string& path, std::string_view type, std::string_view bytes) {
  return impl_->call("POST", path, type, bytes);
}

Json Api::remove(const std::string& path) { return impl_->call("DELETE", path, "", ""); }

StreamEnd Api::stream(const StreamRequest& request,
                      const std::function<bool(const SseEvent&)>& on_event) {
  HeaderList headers;
  Receiver receiver;
  receiver.on_event = &on_event;
  char detail[CURL_ERROR_SIZE] = "";
  CURL* curl = impl_->handle.get();
  impl_->prepare(request, request.method == "POST" ? "application/json" : "", request.body, headers,
                 receiver);
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, detail);
  const CURLcode code = curl_easy_perform(curl);
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, nullptr);
  long status = 0;
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
  if (receiver.stopped || interrupted()) return StreamEnd::stopped;
  if (receiver.too_long) {
    throw Failure(kExitUnavailable, "an event of " + impl_->options.server + " is too long");
  }
  if (status != 0 && status != 200) throw failure_of(status, receiver.body);
  if (code == CURLE_OK && status == 200) return StreamEnd::finished;
  impl_->broken_reason = impl_->unreachable(code, detail);
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
  if (failure.exit == kExitPermission) {
    failure.message += "; give the key with --api-key or TRISTILL_API_KEY";
  }
  return failure;
}

}  // namespace tristill::client
