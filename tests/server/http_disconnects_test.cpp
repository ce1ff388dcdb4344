#include "server/http/disconnects.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <future>

namespace tristill::http {
namespace {

class SocketPair : public ::testing::Test {
 protected:
  SocketPair() { EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends_), 0); }
  ~SocketPair() override {
    ::close(ends_[0]);
    if (ends_[1] >= 0) ::close(ends_[1]);
  }
  void client_leaves() {
    ::close(ends_[1]);
    ends_[1] = -1;
  }
  int server() const { return ends_[0]; }
  int client() const { return ends_[1]; }

 private:
  int ends_[2];
};

TEST_F(SocketPair, AClientThatLeavesIsToldOnce) {
  Disconnects disconnects;
  std::promise<void> left;  // a second set_value would throw
  const auto watch = disconnects.watch(server(), [&] { left.set_value(); });
  ASSERT_TRUE(watch);
  auto told = left.get_future();
  EXPECT_EQ(::send(client(), "x", 1, 0), 1);  // data is no leaving
  client_leaves();
  told.wait();
}

TEST_F(SocketPair, NobodyIsToldOnceTheWatchIsGone) {
  Disconnects disconnects;
  bool told = false;
  {
    const auto watch = disconnects.watch(server(), [&] { told = true; });
  }
  client_leaves();
  std::promise<void> again;
  const auto watch =
      disconnects.watch(server(), [&] { again.set_value(); });  // may be watched anew
  again.get_future().wait();
  EXPECT_FALSE(told);
}

}  // namespace
}  // namespace tristill::http
