// Transport: the bytes of one client's socket, in the clear or through TLS. Never waits: what
// cannot be done now says what to poll for. One thread; owns no socket.
#pragma once

#include <sys/types.h>

#include <cstddef>

namespace tristill::http {

class Transport {
 public:
  // What an attempt came to.
  struct Outcome {
    enum class Kind { done, again, ended } kind;
    size_t bytes = 0;  // moved, with done
    short events = 0;  // to poll for, with again
  };

  virtual ~Transport() = default;
  // A step of what comes before the first byte; done once bytes may flow.
  virtual Outcome open() = 0;
  // At most size bytes; ended when the client sends no more or the socket failed.
  virtual Outcome receive(char* to, size_t size) = 0;
  virtual Outcome send(const char* from, size_t size) = 0;
  // Tells the client that nothing more will come. It may go on sending.
  virtual void end_sending() = 0;
};

class PlainTransport final : public Transport {
 public:
  explicit PlainTransport(int socket) : socket_(socket) {}
  Outcome open() override { return {Outcome::Kind::done}; }
  Outcome receive(char* to, size_t size) override;
  Outcome send(const char* from, size_t size) override;
  void end_sending() override;

 private:
  const int socket_;
};

}  // namespace tristill::http
