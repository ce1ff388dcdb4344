#include "server/http/socket.h"

#include <sys/stat.h>

#include <fstream>

#include "tests/support/echo_server.h"
#include "tests/support/raw_client.h"
#include "tests/support/temporary_folder.h"

namespace tristill::http {
namespace {

using tests::EchoServer;
using tests::get;
using tests::RawClient;

class HttpSocket : public ::testing::Test {
 protected:
  ListenerOptions options() const {
    ListenerOptions options;
    options.host = "unix:" + path_;
    return options;
  }
  unsigned mode() const {
    struct stat there{};
    return ::stat(path_.c_str(), &there) == 0 ? there.st_mode & 0777U : 0;
  }

  tests::TemporaryFolder folder_;
  std::string path_ = (folder_.path() / "t.sock").string();
};

TEST_F(HttpSocket, AUnixSocketIsServedForItsOwnerAlone) {
  EchoServer server(options());
  EXPECT_EQ(server.url(), "unix:" + path_);
  EXPECT_TRUE(server.listener().is_local());
  EXPECT_EQ(mode(), 0600U);
  RawClient client(path_);
  EXPECT_EQ(client.ask(get("/hello")).body, "hello");
  // Host means nothing there: no browser comes.
  EXPECT_EQ(client.ask("GET /hello HTTP/1.1\r\nHost: anything\r\n\r\n").body, "hello");
}

TEST_F(HttpSocket, ItsModeIsASetting) {
  auto shared = options();
  shared.socket_mode = 0660;
  const EchoServer server(shared);
  EXPECT_EQ(mode(), 0660U);
}

TEST_F(HttpSocket, TheFileGoesWithTheServer) {
  { const EchoServer server(options()); }
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(HttpSocket, AFileOfAnotherServerStays) {
  {
    EchoServer server(options());
    std::filesystem::remove(path_);
    std::ofstream(path_) << "another's";
  }
  EXPECT_TRUE(std::filesystem::exists(path_));
}

TEST_F(HttpSocket, ASocketThatNobodyListensOnIsReplaced) {
  {
    const int dead = ::socket(AF_UNIX, SOCK_STREAM, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path_.copy(address.sun_path, path_.size());
    ASSERT_EQ(::bind(dead, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    ::close(dead);
  }
  EchoServer server(options());
  EXPECT_EQ(RawClient(path_).ask(get("/hello")).body, "hello");
}

TEST_F(HttpSocket, ASocketThatSomebodyListensOnIsNot) {
  EchoServer first(options());
  const EchoServer second(options());
  EXPECT_EQ(second.error().code, ErrorCode::unavailable);
  EXPECT_EQ(second.error().param, "host");
  EXPECT_EQ(RawClient(path_).ask(get("/hello")).body, "hello");
}

TEST_F(HttpSocket, AFileIsNeverReplaced) {
  std::ofstream(path_) << "precious";
  EXPECT_EQ(EchoServer(options()).error().param, "host");
  EXPECT_TRUE(std::filesystem::is_regular_file(path_));
}

TEST_F(HttpSocket, PathsThatCannotBeAreNamed) {
  for (const std::string& path : {std::string(), std::string(200, 'a'),
                                  (folder_.path() / "no" / "such" / "folder").string()}) {
    ListenerOptions wrong;
    wrong.host = "unix:" + path;
    const EchoServer server(wrong);
    EXPECT_EQ(server.error().param, "host") << path;
    EXPECT_NE(server.error().message.find("unix:"), std::string::npos);
  }
}

TEST_F(HttpSocket, OnlyThisMachineReachesLoopbackAddresses) {
  for (const auto& [host, is_local] : {std::pair("127.0.0.1", true), std::pair("127.9.9.9", true),
                                       std::pair("localhost", true), std::pair("0.0.0.0", false)}) {
    ListenerOptions options;
    options.host = host;
    EchoServer server(options);
    ASSERT_FALSE(server.url().empty()) << server.error().message;
    EXPECT_EQ(server.listener().is_local(), is_local) << host;
  }
}

TEST_F(HttpSocket, WithoutAHandedDownSocketThereIsNone) {
  ::setenv("LISTEN_PID", "1", 1);  // another process's
  ::setenv("LISTEN_FDS", "1", 1);
  const auto none = ListeningSocket::inherited();
  EXPECT_TRUE(none && !none->has_value());
  ::setenv("LISTEN_PID", std::to_string(::getpid()).c_str(), 1);
  ::setenv("LISTEN_FDS", "2", 1);
  const auto wrong = ListeningSocket::inherited();
  EXPECT_EQ(wrong ? "" : wrong.error().param, "LISTEN_FDS");
  EXPECT_EQ(::getenv("LISTEN_FDS"), nullptr);
  ::unsetenv("LISTEN_PID");
}

}  // namespace
}  // namespace tristill::http
