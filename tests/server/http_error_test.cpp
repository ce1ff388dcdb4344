#include "server/http/error.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace tristill::http {
namespace {

using std::chrono::milliseconds;

std::string header(const Response& response, const std::string& name) {
  const auto found = response.headers.find(name);
  return found == response.headers.end() ? "" : found->second;
}

TEST(HttpError, HasTheFourKeysOfOpenAI) {
  const auto body = nlohmann::json::parse(error_response(400, "", "n is 0", "n", "").body)["error"];
  EXPECT_EQ(body.size(), 4U);
  EXPECT_EQ(body["message"], "n is 0");
  EXPECT_EQ(body["type"], "invalid_request_error");
  EXPECT_EQ(body["param"], "n");
  EXPECT_EQ(body["code"], "invalid_value");
  EXPECT_TRUE(
      nlohmann::json::parse(error_response(500, "", "x", "", "").body)["error"]["param"].is_null());
}

TEST(HttpError, ClientsAreToldWhetherToRetry) {
  for (const int status : {400, 401, 403, 404, 405, 409, 413, 415, 421, 422, 501, 505}) {
    EXPECT_EQ(header(error_response(status, "", "x", "", ""), "x-should-retry"), "false") << status;
  }
  for (const int status : {408, 429, 503}) {
    EXPECT_EQ(header(error_response(status, "", "x", "", ""), "x-should-retry"), "true") << status;
  }
  EXPECT_EQ(header(error_response(500, "", "x", "", ""), "x-should-retry"), "");
}

TEST(HttpError, RetryAfterIsRoundedUpToSecondsAndExactInMilliseconds) {
  struct Row {
    int64_t wait;
    const char *seconds, *ms, *retry;
  };
  for (const Row& row : {Row{0, "1", "0", "true"}, Row{1, "1", "1", "true"},
                         Row{1000, "1", "1000", "true"}, Row{1001, "2", "1001", "true"},
                         Row{60000, "60", "60000", "true"}, Row{60001, "61", "60001", "false"}}) {
    Response response = error_response(429, "", "x", "", "");
    EXPECT_EQ(header(response, "retry-after-ms"), "1000");
    set_retry_after(response, milliseconds(row.wait));
    EXPECT_EQ(header(response, "Retry-After"), row.seconds) << row.wait;
    EXPECT_EQ(header(response, "retry-after-ms"), row.ms) << row.wait;
    EXPECT_EQ(header(response, "x-should-retry"), row.retry) << row.wait;
  }
}

}  // namespace
}  // namespace tristill::http
