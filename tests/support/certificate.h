// Certificates of a test's own, signed by a key of its own; and a client that speaks TLS.
#pragma once

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <filesystem>
#include <memory>
#include <string>

#include "base/atomic_file.h"
#include "base/check.h"
#include "tests/support/raw_client.h"

namespace tristill::tests {

template <class T>
using Owned = std::unique_ptr<T, void (*)(T*)>;

// A certificate for localhost that signs itself, or is signed by another: files as PEM.
class Certificate {
 public:
  Certificate(const std::filesystem::path& folder, const std::string& name,
              const Certificate* signer = nullptr)
      : key_(EVP_EC_gen("P-256"), EVP_PKEY_free), x509_(X509_new(), X509_free) {
    static int serial = 0;
    X509_set_version(x509_.get(), 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x509_.get()), ++serial);
    X509_gmtime_adj(X509_getm_notBefore(x509_.get()), -60);
    X509_gmtime_adj(X509_getm_notAfter(x509_.get()), 3600);
    X509_set_pubkey(x509_.get(), key_.get());
    X509_NAME* subject = X509_get_subject_name(x509_.get());
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
                               reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
    const Certificate& issuer = signer == nullptr ? *this : *signer;
    X509_set_issuer_name(x509_.get(), X509_get_subject_name(issuer.x509_.get()));
    if (signer == nullptr) add_extension(NID_basic_constraints, "critical,CA:TRUE");
    CHECK(X509_sign(x509_.get(), issuer.key_.get(), EVP_sha256()) > 0);
    certificate_file_ = (folder / (name + ".pem")).string();
    key_file_ = (folder / (name + ".key")).string();
    write([&](BIO* to) { return PEM_write_bio_X509(to, x509_.get()); }, certificate_file_);
    write(
        [&](BIO* to) {
          return PEM_write_bio_PrivateKey(to, key_.get(), nullptr, nullptr, 0, nullptr, nullptr);
        },
        key_file_);
  }

  const std::string& certificate_file() const { return certificate_file_; }
  const std::string& key_file() const { return key_file_; }

 private:
  void add_extension(int kind, const char* value) {
    const Owned<X509_EXTENSION> extension(X509V3_EXT_conf_nid(nullptr, nullptr, kind, value),
                                          X509_EXTENSION_free);
    CHECK(extension && X509_add_ext(x509_.get(), extension.get(), -1) == 1);
  }
  template <class Write>
  static void write(const Write& pem, const std::string& path) {
    const Owned<BIO> memory(BIO_new(BIO_s_mem()), BIO_free_all);
    CHECK(pem(memory.get()) == 1);
    char* text = nullptr;
    const long size = BIO_get_mem_data(memory.get(), &text);
    CHECK(write_file_atomically(path, std::string_view(text, static_cast<size_t>(size))));
  }

  Owned<EVP_PKEY> key_;
  Owned<X509> x509_;
  std::string certificate_file_, key_file_;
};

struct TlsClientOptions {
  const Certificate* trusts = nullptr;  // null: anybody
  const Certificate* shows = nullptr;
  int version = 0;  // TLS1_1_VERSION and the like: this one and no other
};

// One TLS connection over a TCP client. Closing sends no goodbye, as a killed program would.
class TlsClient {
 public:
  TlsClient(int port, const TlsClientOptions& options)
      : raw_(port),
        context_(SSL_CTX_new(TLS_client_method()), SSL_CTX_free),
        ssl_(nullptr, SSL_free) {
    if (options.version != 0) {
      SSL_CTX_set_security_level(context_.get(), 0);
      SSL_CTX_set_min_proto_version(context_.get(), options.version);
      SSL_CTX_set_max_proto_version(context_.get(), options.version);
    }
    if (options.trusts != nullptr) {
      CHECK(SSL_CTX_load_verify_file(context_.get(), options.trusts->certificate_file().c_str()));
      SSL_CTX_set_verify(context_.get(), SSL_VERIFY_PEER, nullptr);
    }
    if (options.shows != nullptr) {
      CHECK(SSL_CTX_use_certificate_chain_file(context_.get(),
                                               options.shows->certificate_file().c_str()) == 1);
      CHECK(SSL_CTX_use_PrivateKey_file(context_.get(), options.shows->key_file().c_str(),
                                        SSL_FILETYPE_PEM) == 1);
    }
    ssl_.reset(SSL_new(context_.get()));
    SSL_set_fd(ssl_.get(), raw_.socket());
    connected_ = SSL_connect(ssl_.get()) == 1;
  }

  bool connected() const { return connected_; }
  bool send(std::string_view bytes) {
    return SSL_write(ssl_.get(), bytes.data(), static_cast<int>(bytes.size())) ==
           static_cast<int>(bytes.size());
  }
  // Up to the end of a body whose length is told; what came, when the connection ended before.
  std::string read_answer() {
    std::string answer;
    char part[16384];
    for (;;) {
      const size_t end = answer.find("\r\n\r\n");
      const size_t at = http::lower_case(answer).find("content-length: ");
      if (end != answer.npos && at < end &&
          answer.size() >= end + 4 + std::strtoul(answer.c_str() + at + 16, nullptr, 10)) {
        return answer;
      }
      const int n = SSL_read(ssl_.get(), part, sizeof part);
      if (n <= 0) return answer;
      answer.append(part, static_cast<size_t>(n));
    }
  }
  std::string ask(std::string_view request) {
    send(request);
    return read_answer();
  }
  void close() { raw_.close(); }

 private:
  RawClient raw_;
  Owned<SSL_CTX> context_;
  Owned<SSL> ssl_;
  bool connected_ = false;
};

}  // namespace tristill::tests
