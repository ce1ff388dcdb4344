#include "server/http/tls.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>

#include "base/check.h"

namespace tristill::http {
namespace {

// OpenSSL's own socket BIO raises SIGPIPE and blocks on a blocking socket; this one does neither.
int bio_write(BIO* bio, const char* from, int size) {
  BIO_clear_retry_flags(bio);
  const auto socket = static_cast<int>(reinterpret_cast<intptr_t>(BIO_get_data(bio)));
  const ssize_t n = ::send(socket, from, static_cast<size_t>(size), MSG_NOSIGNAL | MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) BIO_set_retry_write(bio);
  return static_cast<int>(n);
}

int bio_read(BIO* bio, char* to, int size) {
  BIO_clear_retry_flags(bio);
  const auto socket = static_cast<int>(reinterpret_cast<intptr_t>(BIO_get_data(bio)));
  const ssize_t n = ::recv(socket, to, static_cast<size_t>(size), MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) BIO_set_retry_read(bio);
  if (n == 0) BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
  return static_cast<int>(n);
}

long bio_control(BIO* bio, int command, long, void*) {
  if (command == BIO_CTRL_FLUSH) return 1;
  if (command == BIO_CTRL_EOF) return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0 ? 1 : 0;
  return 0;
}

const BIO_METHOD* socket_method() {
  static const BIO_METHOD* const method = [] {
    BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "client socket");
    CHECK(made != nullptr && BIO_meth_set_write(made, bio_write) == 1 &&
          BIO_meth_set_read(made, bio_read) == 1 && BIO_meth_set_ctrl(made, bio_control) == 1);
    return made;
  }();
  return method;
}

class TlsTransport final : public Transport {
 public:
  TlsTransport(SSL_CTX* context, int socket) : socket_(socket), ssl_(SSL_new(context)) {
    BIO* bio = BIO_new(socket_method());
    CHECK(ssl_ != nullptr && bio != nullptr);
    BIO_set_data(bio, reinterpret_cast<void*>(static_cast<intptr_t>(socket)));
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl_, bio, bio);
    SSL_set_accept_state(ssl_);
  }
  ~TlsTransport() override { SSL_free(ssl_); }
  TlsTransport(const TlsTransport&) = delete;
  TlsTransport& operator=(const TlsTransport&) = delete;

  Outcome open() override {
    ERR_clear_error();
    return outcome(SSL_do_handshake(ssl_), 0);
  }
  Outcome receive(char* to, size_t size) override {
    ERR_clear_error();
    size_t n = 0;
    const int result = SSL_read_ex(ssl_, to, size, &n);
    return outcome(result, n);
  }
  Outcome send(const char* from, size_t size) override {
    ERR_clear_error();
    size_t n = 0;
    const int result = SSL_write_ex(ssl_, from, size, &n);
    return outcome(result, n);
  }
  void end_sending() override {
    ERR_clear_error();
    if (!failed_ && SSL_is_init_finished(ssl_) == 1) SSL_shutdown(ssl_);
    ::shutdown(socket_, SHUT_WR);
  }

 private:
  Outcome outcome(int result, size_t n) {
    if (result == 1) return {Outcome::Kind::done, n};
    switch (SSL_get_error(ssl_, result)) {
      case SSL_ERROR_WANT_READ: return {Outcome::Kind::again, 0, POLLIN};
      case SSL_ERROR_WANT_WRITE: return {Outcome::Kind::again, 0, POLLOUT};
      case SSL_ERROR_ZERO_RETURN: return {Outcome::Kind::ended};
      default: failed_ = true; return {Outcome::Kind::ended};
    }
  }

  const int socket_;
  SSL* ssl_;
  bool failed_ = false;  // after which OpenSSL forbids to say goodbye
};

Error wrong(const char* setting, const std::string& file, const char* accepted) {
  const unsigned long code = ERR_peek_last_error();
  const char* reason = code == 0 ? nullptr : ERR_reason_error_string(code);
  return {ErrorCode::invalid_argument,
          std::string(setting) + " " + file + ": " + (reason == nullptr ? "unusable" : reason) +
              "; accepted is " + accepted,
          setting};
}

Result<void> load_files(SSL_CTX* context, const TlsFiles& files) {
  ERR_clear_error();
  if (SSL_CTX_use_certificate_chain_file(context, files.certificate.c_str()) != 1) {
    return wrong("tls_cert", files.certificate, "a PEM file of a certificate and its chain");
  }
  if (SSL_CTX_use_PrivateKey_file(context, files.key.c_str(), SSL_FILETYPE_PEM) != 1 ||
      SSL_CTX_check_private_key(context) != 1) {
    return wrong("tls_key", files.key, "a PEM file of the certificate's key, without a password");
  }
  if (files.client_ca.empty()) return {};
  STACK_OF(X509_NAME)* names = SSL_load_client_CA_file(files.client_ca.c_str());
  if (names == nullptr || SSL_CTX_load_verify_file(context, files.client_ca.c_str()) != 1) {
    sk_X509_NAME_pop_free(names, X509_NAME_free);
    return wrong("tls_client_ca", files.client_ca, "a PEM file of certificates");
  }
  SSL_CTX_set_client_CA_list(context, names);  // takes the names
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  return {};
}

// A key with a password must not make the daemon ask on its terminal.
int no_password(char*, int, int, void*) { return 0; }

}  // namespace

Result<std::shared_ptr<const Tls>> Tls::load(const TlsFiles& files) {
  if (files.certificate.empty() || files.key.empty()) {
    const char* missing = files.certificate.empty() ? "tls_cert" : "tls_key";
    return Error{ErrorCode::invalid_argument,
                 std::string(missing) +
                     " is missing; for TLS give both tls_cert and tls_key, for plain HTTP none",
                 missing};
  }
  SSL_CTX* context = SSL_CTX_new(TLS_server_method());
  CHECK(context != nullptr);
  const std::shared_ptr<const Tls> tls(new Tls(context));
  CHECK(SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) == 1);
  SSL_CTX_set_options(
      context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE);
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                SSL_MODE_RELEASE_BUFFERS);
  constexpr unsigned char kSessions[] = "tristilld";
  SSL_CTX_set_session_id_context(context, kSessions, sizeof kSessions - 1);
  SSL_CTX_set_default_passwd_cb(context, no_password);
  if (auto loaded = load_files(context, files); !loaded) return loaded.error();
  return tls;
}

Tls::~Tls() { SSL_CTX_free(context_); }

std::unique_ptr<Transport> Tls::accept(int socket) const {
  return std::make_unique<TlsTransport>(context_, socket);
}

}  // namespace tristill::http
