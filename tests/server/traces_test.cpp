#include <gtest/gtest.h>

#include "server/traces/service.h"
#include "tests/support/job_fixture.h"

namespace tristill::traces {
namespace {

using nlohmann::json;

class Traces : public ::testing::Test {
 protected:
  void SetUp() override { reopen(); }
  void reopen() {
    router_.reset();
    auto opened = TraceService::open(
        {.data_dir = folder_.path(), .in_use = [this](const std::string&) { return in_use_; }});
    ASSERT_TRUE(opened) << opened.error().message;
    service_ = std::move(*opened);
    router_ = std::make_unique<http::Router>();
    service_->add_routes(*router_);
  }
  tests::Answer call(const std::string& method, const std::string& path,
                     const std::string& body = "", std::map<std::string, std::string> query = {}) {
    http::Request request;
    request.method = method;
    request.path = path;
    request.body = body;
    request.query = std::move(query);
    tests::Answer answer;
    answer.response = router_->route(request);
    answer.status = answer.response.status;
    answer.body = json::parse(answer.response.body, nullptr, false);
    return answer;
  }
  tests::Answer upload(const std::string& name, const std::string& body) {
    return call("POST", "/traces", body, {{"name", name}});
  }
  static std::string line(char tokenizer = 'a') {
    const json record = {{"tokenizer", std::string(64, tokenizer)},
                         {"teacher", "big"},
                         {"sampling", "t1"},
                         {"prompt_tokens", 1},
                         {"tokens", {5, 9}},
                         {"top_logprobs", {nullptr, {{9, -0.25}, {4, -2.0}}}}};
    return record.dump() + "\n";
  }

  tests::TemporaryFolder folder_;
  bool in_use_ = false;
  std::unique_ptr<TraceService> service_;
  std::unique_ptr<http::Router> router_;
};

TEST_F(Traces, AnUploadIsCountedAndOutlivesTheDaemon) {
  auto answer = upload("mine", line() + "\n" + line());
  ASSERT_EQ(answer.status, 200) << answer.response.body;
  EXPECT_EQ(answer.body["id"], "mine");
  EXPECT_EQ(answer.body["object"], "trace");
  EXPECT_EQ(answer.body["records"], 2);
  EXPECT_EQ(answer.body["added_records"], 2);
  EXPECT_EQ(answer.body["tokens"], 4);
  EXPECT_EQ(answer.body["scored_tokens"], 2);
  answer = upload("mine", line());
  EXPECT_EQ(answer.body["records"], 3);
  EXPECT_EQ(answer.body["added_records"], 1);
  const auto before = call("GET", "/traces/mine").body;
  reopen();
  EXPECT_EQ(call("GET", "/traces/mine").body, before);
  EXPECT_EQ(before["records"], 3);
  EXPECT_EQ(before["bytes"], std::filesystem::file_size(*service_->shard_path("mine")));
}

TEST_F(Traces, ABadLineRefusesTheWholeUploadByLineAndField) {
  const auto answer = upload("mine", line() + line() + "{\"teacher\": \"x\"}\n");
  EXPECT_EQ(answer.status, 400);
  const std::string param = answer.body["error"]["param"];
  EXPECT_TRUE(param.starts_with("line 3")) << param;
  EXPECT_FALSE(service_->shard_path("mine"));
  EXPECT_EQ(call("GET", "/traces/mine").status, 404);
  EXPECT_EQ(service_->counts().refused_uploads, 1u);
}

TEST_F(Traces, AnEmptyUploadIsRefused) {
  EXPECT_EQ(upload("mine", "").status, 400);
  EXPECT_EQ(upload("mine", "\n \r\n\n").status, 400);
}

TEST_F(Traces, RecordsOfASetShareOneTokenizer) {
  ASSERT_EQ(upload("mine", line('a')).status, 200);
  reopen();
  const auto answer = upload("mine", line('b'));
  EXPECT_EQ(answer.status, 409);
  const std::string message = answer.body["error"]["message"];
  EXPECT_NE(message.find(std::string(64, 'a')), std::string::npos);
  EXPECT_NE(message.find(std::string(64, 'b')), std::string::npos);
  EXPECT_EQ(call("GET", "/traces/mine").body["records"], 1);
  EXPECT_EQ(upload("mixed", line('a') + line('b')).status, 409);
  EXPECT_FALSE(service_->shard_path("mixed"));
}

TEST_F(Traces, NamesThatLeaveTheDataRootAreRefused) {
  for (const char* name : {"", ".", "..", ".x", "a/b", "../x", "a b"}) {
    EXPECT_EQ(upload(name, line()).status, 400) << name;
    EXPECT_FALSE(service_->shard_path(name)) << name;
  }
  EXPECT_EQ(upload(std::string(65, 'a'), line()).status, 400);
  EXPECT_EQ(upload(std::string(64, 'a'), line()).status, 200);
}

TEST_F(Traces, AFullDiskAnswers507AndKeepsWhatWasThere) {
  ASSERT_EQ(upload("mine", line()).status, 200);
  const auto before = call("GET", "/traces/mine").body;
  {
    const tests::FullDisk full;
    for (const char* name : {"mine", "new"}) {
      const auto answer = upload(name, line());
      EXPECT_EQ(answer.status, 507) << answer.response.body;
    }
  }
  reopen();
  EXPECT_EQ(call("GET", "/traces/mine").body, before);
  EXPECT_EQ(call("GET", "/traces").body["data"].size(), 1u);
  EXPECT_EQ(upload("new", line()).status, 200);
}

TEST_F(Traces, ATornTailIsNotCounted) {
  ASSERT_EQ(upload("mine", line() + line()).status, 200);
  const auto shard = *service_->shard_path("mine");
  ASSERT_TRUE(write_file_atomically(shard, *read_file(shard) + "torn"));
  reopen();
  EXPECT_EQ(call("GET", "/traces/mine").body["records"], 2);
  EXPECT_EQ(upload("mine", line()).body["records"], 3);
  reopen();
  EXPECT_EQ(call("GET", "/traces/mine").body["records"], 3);
}

TEST_F(Traces, ADamagedSetSaysSoAndStaysAsItIs) {
  ASSERT_EQ(upload("mine", line() + line() + line()).status, 200);
  const auto shard = *service_->shard_path("mine");
  std::string bytes = *read_file(shard);
  bytes[100] ^= 1;  // of the first record
  ASSERT_TRUE(write_file_atomically(shard, bytes));
  for (const bool is_counted : {true, false}) {
    if (!is_counted) reopen();
    const auto answer = upload("mine", line());
    EXPECT_EQ(answer.status, 500) << answer.response.body;
    EXPECT_EQ(answer.body["error"]["code"], "corrupt");
    const std::string message = answer.body["error"]["message"];
    EXPECT_NE(message.find("record 1 of"), std::string::npos) << message;
    EXPECT_EQ(*read_file(shard), bytes);
    EXPECT_EQ(call("GET", "/traces/mine").status, 500);
  }
  EXPECT_EQ(call("DELETE", "/traces/mine").status, 200);
  EXPECT_EQ(upload("mine", line()).body["records"], 1);
}

TEST_F(Traces, ListsByName) {
  ASSERT_EQ(upload("b", line()).status, 200);
  ASSERT_EQ(upload("a", line('c')).status, 200);
  const auto list = call("GET", "/traces").body;
  ASSERT_EQ(list["data"].size(), 2u);
  EXPECT_EQ(list["data"][0]["id"], "a");
  EXPECT_EQ(list["data"][1]["id"], "b");
  EXPECT_EQ(service_->counts().sets, 2u);
}

TEST_F(Traces, ARemovedSetIsGoneAndItsNameFree) {
  ASSERT_EQ(upload("mine", line('a')).status, 200);
  in_use_ = true;
  EXPECT_EQ(call("DELETE", "/traces/mine").status, 409);
  in_use_ = false;
  const auto answer = call("DELETE", "/traces/mine");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body["deleted"], true);
  EXPECT_EQ(call("DELETE", "/traces/mine").status, 404);
  EXPECT_EQ(call("GET", "/traces").body["data"].size(), 0u);
  EXPECT_EQ(upload("mine", line('b')).status, 200);
}

TEST_F(Traces, UploadsToOneSetAtOnceAllCount) {
  std::vector<std::thread> clients;
  for (int i = 0; i < 4; ++i) {
    clients.emplace_back([&] {
      for (int k = 0; k < 10; ++k) EXPECT_EQ(upload("mine", line()).status, 200);
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(call("GET", "/traces/mine").body["records"], 40);
  reopen();
  EXPECT_EQ(call("GET", "/traces/mine").body["records"], 40);
}

}  // namespace
}  // namespace tristill::traces
