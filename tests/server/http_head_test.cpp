#include <gtest/gtest.h>

#include "server/http/request_head.h"

namespace tristill::http {
namespace {

std::variant<RequestHead, Refusal> parse(std::string text, size_t max_headers = 100) {
  return parse_request_head(text, max_headers);
}

int refusal(const std::string& text) {
  const auto parsed = parse(text);
  const auto* refused = std::get_if<Refusal>(&parsed);
  return refused == nullptr ? 0 : refused->status;
}

RequestHead head(const std::string& text) {
  auto parsed = parse(text);
  EXPECT_TRUE(std::holds_alternative<RequestHead>(parsed)) << text;
  return std::holds_alternative<RequestHead>(parsed) ? std::get<RequestHead>(parsed)
                                                     : RequestHead();
}

const std::string kPost = "POST /x HTTP/1.1\r\nHost: h\r\n";

TEST(RequestHead, NamesAreLoweredValuesAreKeptAsSent) {
  const auto parsed = head("GET /a?b=c HTTP/1.1\r\nHOST: h\r\nX-Key: \t A%41 b \r\n\r\n");
  EXPECT_EQ(parsed.method, "GET");
  EXPECT_EQ(parsed.target, "/a?b=c");
  EXPECT_EQ(parsed.path, "/a");
  EXPECT_EQ(parsed.header("x-key"), "A%41 b");
  EXPECT_FALSE(parsed.has_body());
}

TEST(RequestHead, RepeatedHeadersAreJoined) {
  EXPECT_EQ(head("GET / HTTP/1.1\r\nHost: h\r\nA: 1\r\na: 2\r\n\r\n").header("a"), "1, 2");
}

TEST(RequestHead, AbsoluteTargetsBecomePaths) {
  EXPECT_EQ(head("GET http://h:1/a/b HTTP/1.1\r\nHost: h\r\n\r\n").target, "/a/b");
  EXPECT_EQ(head("GET http://h HTTP/1.1\r\nHost: h\r\n\r\n").target, "/");
}

TEST(RequestHead, ThePathIsDecodedOnceAndTheQueryIsNoPartOfIt) {
  EXPECT_EQ(head("GET /a%20b%2Fc%25?d=%zz HTTP/1.1\r\nHost: h\r\n\r\n").path, "/a b/c%");
  EXPECT_EQ(head("GET /%C3%A9 HTTP/1.1\r\nHost: h\r\n\r\n").path, "/\xc3\xa9");
  for (const char* path : {"/%", "/%4", "/%4g", "/%0a", "/%00", "/%u0041", "/%7f"}) {
    EXPECT_EQ(refusal("GET " + std::string(path) + " HTTP/1.1\r\nHost: h\r\n\r\n"), 400) << path;
  }
}

TEST(RequestHead, KeepAliveFollowsTheVersionAndTheConnectionHeader) {
  EXPECT_TRUE(head("GET / HTTP/1.1\r\nHost: h\r\n\r\n").keep_alive);
  EXPECT_FALSE(head("GET / HTTP/1.1\r\nHost: h\r\nConnection: x, Close\r\n\r\n").keep_alive);
  EXPECT_FALSE(head("GET / HTTP/1.0\r\n\r\n").keep_alive);
  EXPECT_TRUE(head("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").keep_alive);
}

TEST(RequestHead, MalformedRequestLinesAreRefused) {
  for (const char* line :
       {"", " ", "GET", "GET /", " / HTTP/1.1", "GET  /  HTTP/1.1", "GET x HTTP/1.1",
        "GET /a b HTTP/1.1", "G(T / HTTP/1.1", "GET /\x01 HTTP/1.1"}) {
    EXPECT_EQ(refusal(std::string(line) + "\r\nHost: h\r\n\r\n"), 400) << line;
  }
}

TEST(RequestHead, UnknownMethodsAndVersionsAreNamed) {
  EXPECT_EQ(refusal("CONNECT /x HTTP/1.1\r\nHost: h\r\n\r\n"), 501);
  EXPECT_EQ(refusal("get /x HTTP/1.1\r\nHost: h\r\n\r\n"), 501);
  EXPECT_EQ(refusal("GET / HTTP/2.0\r\nHost: h\r\n\r\n"), 505);
  EXPECT_EQ(refusal("GET / \r\nHost: h\r\n\r\n"), 505);
  EXPECT_EQ(refusal("GET / http/1.1\r\nHost: h\r\n\r\n"), 505);
}

TEST(RequestHead, LongTargetsAreRefused) {
  EXPECT_EQ(refusal("GET /" + std::string(8000, 'a') + " HTTP/1.1\r\nHost: h\r\n\r\n"), 414);
  EXPECT_EQ(refusal("GET /" + std::string(7999, 'a') + " HTTP/1.1\r\nHost: h\r\n\r\n"), 0);
}

TEST(RequestHead, MalformedHeadersAreRefused) {
  for (const std::string line : {": v", "a", "a b: v", "a : v", " folded: v", "a: v\nb: w",
                                 "a: v\rb", "a: \x7f", "a: b\x01"}) {
    EXPECT_EQ(refusal(kPost + line + "\r\n\r\n"), 400) << line;
  }
  EXPECT_EQ(refusal(kPost + std::string("a: b\0c", 6) + "\r\n\r\n"), 400);
}

TEST(RequestHead, BodiesOfTwoMeaningsAreRefused) {
  for (const std::string lines :
       {"Content-Length: 3\r\nContent-Length: 3", "Content-Length: 3\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "Content-Length: +3",
        "Content-Length: -3", "Content-Length: 3, 3", "Content-Length: 0x3",
        "Content-Length: ", "Content-Length: 3 3", "Content-Length: 99999999999999999999999"}) {
    EXPECT_EQ(refusal(kPost + lines + "\r\n\r\n"), 400) << lines;
  }
  EXPECT_EQ(refusal(kPost + "Transfer-Encoding: gzip, chunked\r\n\r\n"), 501);
  EXPECT_EQ(refusal(kPost + "Transfer-Encoding: identity\r\n\r\n"), 501);
  EXPECT_EQ(refusal(kPost + "Content-Encoding: br\r\n\r\n"), 415);
  EXPECT_EQ(refusal(kPost + "Content-Encoding: gzip, gzip\r\n\r\n"), 415);
  EXPECT_EQ(refusal(kPost + "Content-Encoding: gzip\r\nContent-Encoding: gzip\r\n\r\n"), 415);
  EXPECT_EQ(refusal("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), 400);
}

TEST(RequestHead, OneHostIsNeeded) {
  EXPECT_EQ(refusal("GET / HTTP/1.1\r\n\r\n"), 400);
  EXPECT_EQ(refusal("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"), 400);
  EXPECT_EQ(refusal("GET / HTTP/1.0\r\n\r\n"), 0);
}

TEST(RequestHead, FramingIsRead) {
  EXPECT_EQ(head(kPost + "Content-Length: 12\r\n\r\n").content_length, 12U);
  EXPECT_TRUE(head(kPost + "Transfer-Encoding: Chunked\r\n\r\n").chunked);
  EXPECT_TRUE(head(kPost + "Expect: 100-Continue\r\nContent-Length: 1\r\n\r\n").expects_continue);
}

TEST(RequestHead, HeadersAreCounted) {
  std::string text = "GET / HTTP/1.1\r\nHost: h\r\n";
  for (int i = 0; i < 9; ++i) text += "a: b\r\n";
  EXPECT_TRUE(std::holds_alternative<RequestHead>(parse(text + "\r\n", 10)));
  const auto refused = parse(text + "a: b\r\n\r\n", 10);
  ASSERT_TRUE(std::holds_alternative<Refusal>(refused));
  EXPECT_EQ(std::get<Refusal>(refused).status, 431);
}

}  // namespace
}  // namespace tristill::http
