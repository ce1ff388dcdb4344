#include "server/service_notifier.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "tests/support/temporary_folder.h"

namespace tristill::server {
namespace {

using std::chrono::microseconds;

// What systemd has: a datagram socket that services write to.
class Supervisor {
 public:
  explicit Supervisor(std::string name) : fd_(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
    ::setenv("NOTIFY_SOCKET", name.c_str(), 1);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, name.data(), name.size());
    if (name[0] == '@') address.sun_path[0] = '\0';
    const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
    EXPECT_EQ(::bind(fd_, reinterpret_cast<const sockaddr*>(&address), size), 0);
  }
  ~Supervisor() { ::close(fd_); }
  Supervisor(const Supervisor&) = delete;
  Supervisor& operator=(const Supervisor&) = delete;

  // The next message; empty when there is none.
  std::string read() const {
    char text[4096];
    const ssize_t n = ::recv(fd_, text, sizeof(text), MSG_DONTWAIT);
    return n < 0 ? "" : std::string(text, static_cast<size_t>(n));
  }

 private:
  int fd_;
};

class Notifier : public ::testing::Test {
 protected:
  ~Notifier() override {
    for (const char* name : {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}) ::unsetenv(name);
  }
  tests::TemporaryFolder folder_;
};

TEST_F(Notifier, TellsWhatTheServiceDoes) {
  const Supervisor supervisor((folder_.path() / "notify").string());
  const auto notifier = ServiceNotifier::from_environment();
  EXPECT_TRUE(notifier.is_heard());
  notifier.ready();
  EXPECT_TRUE(supervisor.read().starts_with("READY=1\n"));
  notifier.reloading();
  const std::string reloading = supervisor.read();
  EXPECT_TRUE(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC=")) << reloading;
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  const long long told = std::stoll(reloading.substr(reloading.find("USEC=") + 5));
  EXPECT_GT(told, 0);
  EXPECT_LE(told, now.tv_sec * 1000000LL + now.tv_nsec / 1000);
  notifier.stopping(microseconds(7));
  EXPECT_TRUE(supervisor.read().starts_with("STOPPING=1\nEXTEND_TIMEOUT_USEC=7\n"));
  notifier.alive();
  EXPECT_EQ(supervisor.read(), "WATCHDOG=1");
}

TEST_F(Notifier, KnowsAbstractSockets) {
  const Supervisor supervisor("@tristill-test-" + std::to_string(::getpid()));
  ServiceNotifier::from_environment().alive();
  EXPECT_EQ(supervisor.read(), "WATCHDOG=1");
}

TEST_F(Notifier, IsSilentWithoutASocketAndSurvivesABrokenOne) {
  EXPECT_FALSE(ServiceNotifier::from_environment().is_heard());
  ServiceNotifier::from_environment().ready();
  ::setenv("NOTIFY_SOCKET", "/nowhere/notify", 1);
  ServiceNotifier::from_environment().ready();
  ::setenv("NOTIFY_SOCKET", std::string(200, 'x').c_str(), 1);
  ServiceNotifier::from_environment().ready();
}

TEST_F(Notifier, TakesItsVariablesAwayFromWorkers) {
  const Supervisor supervisor((folder_.path() / "notify").string());
  ::setenv("WATCHDOG_USEC", "3000000", 1);
  ::setenv("WATCHDOG_PID", std::to_string(::getpid()).c_str(), 1);
  EXPECT_EQ(ServiceNotifier::from_environment().watchdog(), microseconds(3000000));
  for (const char* name : {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}) {
    EXPECT_EQ(std::getenv(name), nullptr) << name;
  }
}

TEST_F(Notifier, AWatchdogOfAnotherProcessOrOfNonsenseIsNone) {
  ::setenv("WATCHDOG_USEC", "3000000", 1);
  ::setenv("WATCHDOG_PID", "1", 1);
  EXPECT_FALSE(ServiceNotifier::from_environment().watchdog());
  for (const char* text : {"", "0", "-5", "soon", "5s"}) {
    ::setenv("WATCHDOG_USEC", text, 1);
    EXPECT_FALSE(ServiceNotifier::from_environment().watchdog()) << text;
  }
}

}  // namespace
}  // namespace tristill::server
