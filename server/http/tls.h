// TLS for the listener: certificate, key and, where client certificates are asked for, who signs
// them. TLS 1.2 and 1.3. Immutable once loaded; any thread. New files are a new Tls: connections
// keep the one that they began with.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "server/http/transport.h"

struct ssl_ctx_st;

namespace tristill::http {

// PEM files.
struct TlsFiles {
  std::string certificate;  // the server's first, then what signed it
  std::string key;
  std::string client_ca;  // empty: no client certificate is asked for

  bool any() const { return !certificate.empty() || !key.empty() || !client_ca.empty(); }
};

class Tls {
 public:
  // Errors: invalid_argument, naming the setting (tls_cert, tls_key, tls_client_ca), the file and
  // what is wrong with it.
  static Result<std::shared_ptr<const Tls>> load(const TlsFiles& files);
  ~Tls();
  Tls(const Tls&) = delete;
  Tls& operator=(const Tls&) = delete;

  // The server's side of a connection.
  std::unique_ptr<Transport> accept(int socket) const;

 private:
  explicit Tls(ssl_ctx_st* context) : context_(context) {}
  ssl_ctx_st* context_;
};

}  // namespace tristill::http
