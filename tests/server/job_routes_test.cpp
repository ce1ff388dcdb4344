// POST /jobs and what can be asked of jobs, without sockets.
#include <gtest/gtest.h>

#include "server/jobs/corpora.h"
#include "server/jobs/job_json.h"
#include "tests/support/job_fixture.h"
#include "train/job/health_file.h"

namespace tristill::jobs {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

class JobRoutesTest : public tests::JobTest {
 protected:
  json error_of(const tests::Answer& answer) { return answer.body["error"]; }

  // The ids and types of a stream's events, and whether it ended in order.
  struct Heard {
    std::vector<std::string> ids;
    std::vector<json> events;
    bool done = false;
  };
  static Heard parse_stream(const std::string& text) {
    Heard heard;
    size_t at = 0;
    while (at < text.size()) {
      const size_t end = text.find('\n', at);
      if (end == std::string::npos) break;
      const std::string line = text.substr(at, end - at);
      at = end + 1;
      if (line.starts_with("id: ")) heard.ids.push_back(line.substr(4));
      if (line == "data: [DONE]") {
        heard.done = true;
      } else if (line.starts_with("data: ")) {
        heard.events.push_back(json::parse(line.substr(6)));
      }
    }
    return heard;
  }
  Heard listen(const std::string& id, std::map<std::string, std::string> headers = {}) {
    const auto answer = call("GET", "/jobs/" + id + "/events", "", {{"stream", "true"}}, headers);
    EXPECT_EQ(answer.response.content_type, "text/event-stream");
    if (!answer.response.stream) return {};
    tests::RecordingStream out;
    answer.response.stream(out);
    return parse_stream(out.text());
  }
};

TEST_F(JobRoutesTest, ACreatedJobHasOpenAisFieldsAndOurs) {
  script("await=go");
  start();
  const auto answer = call("POST", "/jobs", body("tiny").dump());
  ASSERT_EQ(answer.status, 200) << answer.response.body;
  for (const char* field : {"id",
                            "object",
                            "created_at",
                            "error",
                            "finished_at",
                            "fine_tuned_model",
                            "hyperparameters",
                            "model",
                            "organization_id",
                            "result_files",
                            "seed",
                            "status",
                            "trained_tokens",
                            "training_file",
                            "validation_file",
                            "estimated_finish",
                            "method",
                            "metadata",
                            "kind",
                            "spec",
                            "progress"}) {
    EXPECT_TRUE(answer.body.contains(field)) << field;
  }
  EXPECT_EQ(answer.body["object"], "fine_tuning.job");
  EXPECT_EQ(answer.body["status"], "queued");
  EXPECT_EQ(answer.body["model"], "tiny");
  EXPECT_EQ(answer.body["kind"], "train");
  EXPECT_EQ(answer.body["training_file"], "code");
  EXPECT_EQ(answer.body["spec"]["name"], "tiny");
  EXPECT_EQ(answer.body["hyperparameters"]["batch_size"], 4);
  EXPECT_TRUE(answer.body["error"].is_null());
}

TEST_F(JobRoutesTest, UnknownNamesAreRefusedWithTheirField) {
  start();
  json wish = body("a");
  wish["data"]["corpora"].push_back({{"name", "no-such"}});
  auto answer = call("POST", "/jobs", wish.dump());
  EXPECT_EQ(answer.status, 400);
  EXPECT_EQ(error_of(answer)["param"], "data.corpora[1].name");
  EXPECT_NE(error_of(answer)["message"].get<std::string>().find("code"), std::string::npos);

  wish = body("a");
  wish["data"]["traces"] = {"missing"};
  answer = call("POST", "/jobs", wish.dump());
  EXPECT_EQ(answer.status, 400);
  EXPECT_EQ(error_of(answer)["param"], "data.traces[0]");

  wish = body("a");
  wish["tokenizer"] = {{"from_model", "nobody"}};
  answer = call("POST", "/jobs", wish.dump());
  EXPECT_EQ(answer.status, 400);
  EXPECT_EQ(error_of(answer)["param"], "tokenizer.from_model");

  answer = call("POST", "/jobs", "{");
  EXPECT_EQ(answer.status, 400);
  EXPECT_EQ(call("GET", "/jobs").body["data"].size(), 0u);
}

TEST_F(JobRoutesTest, NamesThatLeaveTheDataRootAreRefused) {
  start();
  for (const char* name : {"..", ".", ".hidden", "a/b", "../etc", ""}) {
    const auto answer = call("POST", "/jobs", body(name).dump());
    EXPECT_EQ(answer.status, 400) << name;
    json wish = body("fine");
    wish["data"]["corpora"] = json::array({{{"name", name}}});
    EXPECT_EQ(call("POST", "/jobs", wish.dump()).status, 400) << name;
  }
}

TEST_F(JobRoutesTest, TheSameKeyAndBodyIsOneJob) {
  script("await=go");
  start();
  const std::string text = body("a").dump();
  const auto first = call("POST", "/jobs", text, {}, {{"idempotency-key", "k1"}});
  const auto again = call("POST", "/jobs", text, {}, {{"idempotency-key", "k1"}});
  ASSERT_EQ(first.status, 200);
  ASSERT_EQ(again.status, 200);
  EXPECT_EQ(first.body["id"], again.body["id"]);
  EXPECT_EQ(call("GET", "/jobs").body["data"].size(), 1u);
  const auto other = call("POST", "/jobs", body("b").dump(), {}, {{"idempotency-key", "k1"}});
  EXPECT_EQ(other.status, 409);
  EXPECT_EQ(other.response.headers.at("x-should-retry"), "false");
  const auto bad = call("POST", "/jobs", text, {}, {{"idempotency-key", std::string(256, 'k')}});
  EXPECT_EQ(bad.status, 400);
}

TEST_F(JobRoutesTest, AnActiveNameIsRefused) {
  script("await=go");
  start();
  create("a");
  const auto answer = call("POST", "/jobs", body("a").dump());
  EXPECT_EQ(answer.status, 409);
  EXPECT_EQ(error_of(answer)["param"], "name");
}

TEST_F(JobRoutesTest, AFullQueueAnswers429) {
  options_.max_waiting = 1;
  script("await=go");
  start();
  const std::string first = create("a");
  ASSERT_TRUE(reaches(first, "running"));
  create("b");
  const auto answer = call("POST", "/jobs", body("c").dump());
  EXPECT_EQ(answer.status, 429);
  EXPECT_TRUE(answer.response.headers.contains("Retry-After"));
}

TEST_F(JobRoutesTest, AFullDiskAnswers507AndTheDaemonGoesOn) {
  script("artifact result=succeeded");
  start();
  {
    const tests::FullDisk full;
    const auto answer = call("POST", "/jobs", body("a").dump());
    EXPECT_EQ(answer.status, 507) << answer.response.body;
    EXPECT_EQ(error_of(answer)["code"], "storage_full");
    EXPECT_EQ(call("GET", "/jobs").body["data"].size(), 0u);
  }
  const std::string id = create("a");
  EXPECT_TRUE(reaches(id, "succeeded"));
}

TEST_F(JobRoutesTest, ListsNewestFirstInPages) {
  script("await=go");
  start();
  for (const char* name : {"a", "b", "c"}) create(name);
  const auto first = call("GET", "/jobs", "", {{"limit", "2"}}).body;
  ASSERT_EQ(first["data"].size(), 2u);
  EXPECT_EQ(first["data"][0]["model"], "c");
  EXPECT_EQ(first["has_more"], true);
  const std::string last = first["data"][1]["id"];
  const auto second = call("GET", "/jobs", "", {{"limit", "2"}, {"after", last}}).body;
  ASSERT_EQ(second["data"].size(), 1u);
  EXPECT_EQ(second["data"][0]["model"], "a");
  EXPECT_EQ(second["has_more"], false);
  for (const char* limit : {"-1", "1001", "x", "1x", "99999999999999999999"}) {
    EXPECT_EQ(call("GET", "/jobs", "", {{"limit", limit}}).status, 400) << limit;
  }
  EXPECT_EQ(call("GET", "/jobs", "", {{"after", "ftjob-none"}}).status, 400);
}

TEST_F(JobRoutesTest, AnUnknownJobIs404Everywhere) {
  start();
  EXPECT_EQ(call("GET", "/jobs/ftjob-none").status, 404);
  EXPECT_EQ(call("GET", "/jobs/ftjob-none/events").status, 404);
  EXPECT_EQ(call("GET", "/jobs/ftjob-none/health").status, 404);
  EXPECT_EQ(call("POST", "/jobs/ftjob-none/cancel").status, 404);
  EXPECT_EQ(call("POST", "/jobs/ftjob-none/resume").status, 404);
}

TEST_F(JobRoutesTest, HealthIsThatOfTheNewestCheckpointThatSaysIt) {
  script("checkpoint=3 await=go");
  start();
  const std::string id = create("a");
  ASSERT_TRUE(tests::until([&] { return count_events(id, "checkpoint") == 1; }));
  const auto ask = [&] { return call("GET", "/jobs/" + id + "/health"); };
  const auto none = ask();
  EXPECT_EQ(none.status, 404);
  EXPECT_NE(error_of(none)["message"].get<std::string>().find("no checkpoint"), std::string::npos);
  const auto write = [&](const char* folder, const std::string& text) {
    const fs::path place = data() / "jobs" / id / "checkpoints" / folder;
    fs::create_directories(place);
    ASSERT_TRUE(write_file_atomically(place / "health.json", text));
  };
  write("00000003", job::format_health_file({.step = 3, .grad_norm = 0.5}));
  const auto first = ask();
  ASSERT_EQ(first.status, 200) << first.response.body;
  EXPECT_EQ(first.response.content_type, "application/json");
  EXPECT_EQ(first.body["step"], 3);
  EXPECT_EQ(first.body["healthy"], true);
  EXPECT_EQ(first.body["grad_norm"], 0.5);
  EXPECT_TRUE(first.body["tokens_per_second"].is_null());
  write("99999999", R"({"step":99999999,"healthy":true})");  // of an earlier version
  EXPECT_EQ(ask().body["step"], 99999999);
  write("100000000", R"({"step":100000000,"healthy":false})");
  EXPECT_EQ(ask().body["step"], 100000000);
  write("200000000", R"({"step":2)");  // damaged
  write("tmp-300000000", R"({"step":300000000,"healthy":true})");  // being written
  EXPECT_EQ(ask().body["step"], 100000000);
}

TEST_F(JobRoutesTest, OnlyAnEndedJobWithACheckpointIsResumed) {
  script("await=go");
  start();
  const std::string running = create("a");
  const std::string waiting = create("b");
  ASSERT_TRUE(reaches(running, "running"));
  EXPECT_EQ(call("POST", "/jobs/" + running + "/resume").status, 409);
  ASSERT_EQ(call("POST", "/jobs/" + waiting + "/cancel").status, 200);
  const auto answer = call("POST", "/jobs/" + waiting + "/resume");
  EXPECT_EQ(answer.status, 409);
  EXPECT_NE(error_of(answer)["message"].get<std::string>().find("no checkpoint"),
            std::string::npos);
}

TEST_F(JobRoutesTest, AThousandEventsComeOnceInPages) {
  script("metrics=1000 artifact result=succeeded");
  start();
  const std::string id = create("a");
  ASSERT_TRUE(reaches(id, "succeeded"));
  std::vector<int> steps;
  std::string after;
  for (;;) {
    const auto page =
        call("GET", "/jobs/" + id + "/events", "", {{"limit", "37"}, {"after", after}}).body;
    for (const auto& event : page["data"]) {
      EXPECT_EQ(event["object"], "fine_tuning.job.event");
      if (event["type"] == "metrics") steps.push_back(event["data"]["step"]);
      after = event["id"];
    }
    if (!page["has_more"]) break;
    ASSERT_EQ(page["data"].size(), 37u);
  }
  ASSERT_EQ(steps.size(), 1000u);
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(steps[static_cast<size_t>(i)], i);
}

TEST_F(JobRoutesTest, AStreamReplaysAndEndsWithTheJob) {
  script("metrics=450 artifact result=succeeded");
  start();
  const std::string id = create("a");
  const Heard all = listen(id);  // from before the start to the end
  EXPECT_TRUE(all.done);
  ASSERT_EQ(all.ids.size(), all.events.size());
  ASSERT_GT(all.events.size(), 450u);
  EXPECT_EQ(all.events.front()["message"], "Job created");
  EXPECT_EQ(all.events.back()["type"], "status");
  EXPECT_EQ(all.events.back()["data"]["status"], "succeeded");
  for (size_t i = 0; i < all.ids.size(); ++i) EXPECT_EQ(all.events[i]["id"], all.ids[i]);

  const Heard rest = listen(id, {{"last-event-id", all.ids[200]}});
  EXPECT_TRUE(rest.done);
  ASSERT_EQ(rest.ids.size(), all.ids.size() - 201);
  EXPECT_EQ(rest.ids.front(), all.ids[201]);
  EXPECT_EQ(call("GET", "/jobs/" + id + "/events", "", {{"stream", "true"}},
                 {{"last-event-id", "nonsense"}})
                .status,
            400);
  EXPECT_EQ(call("GET", "/jobs/" + id + "/events", "", {{"stream", "perhaps"}}).status, 400);
}

TEST_F(JobRoutesTest, AcceptAsksForAStreamToo) {
  script("artifact result=succeeded");
  start();
  const std::string id = create("a");
  const auto answer =
      call("GET", "/jobs/" + id + "/events", "", {}, {{"accept", "text/event-stream"}});
  EXPECT_EQ(answer.response.content_type, "text/event-stream");
  EXPECT_TRUE(answer.response.stream);
}

TEST_F(JobRoutesTest, ASilentStreamIsKeptAliveAndLeftByItsClient) {
  options_.heartbeat = std::chrono::milliseconds(1);
  script("await=go");
  start();
  const std::string id = create("a");
  const auto answer = call("GET", "/jobs/" + id + "/events", "", {{"stream", "true"}});
  tests::RecordingStream out;
  std::thread reader([&] { answer.response.stream(out); });
  EXPECT_TRUE(tests::until([&] { return out.text().find("\n\n: ") != std::string::npos; }));
  out.leave();
  reader.join();
  EXPECT_FALSE(parse_stream(out.text()).done);
}

TEST_F(JobRoutesTest, StoppingTheDaemonEndsStreams) {
  script("await=go");
  start();
  const std::string id = create("a");
  ASSERT_TRUE(reaches(id, "running"));
  const auto answer = call("GET", "/jobs/" + id + "/events", "", {{"stream", "true"}});
  tests::RecordingStream out;
  std::thread reader([&] { answer.response.stream(out); });
  service_->stop();
  reader.join();
  EXPECT_FALSE(parse_stream(out.text()).done);
}

TEST_F(JobRoutesTest, CountsEveryState) {
  script("await=go artifact result=succeeded");
  start();
  const std::string id = create("a");
  ASSERT_TRUE(reaches(id, "running"));
  auto counts = service_->counts();
  EXPECT_EQ(counts.size(), 8u);
  EXPECT_EQ(counts["running"], 1u);
  touch("go");
  ASSERT_TRUE(reaches(id, "succeeded"));
  EXPECT_EQ(service_->counts()["succeeded"], 1u);
}

TEST_F(JobRoutesTest, KnowsWhichTracesAreInUse) {
  options_.trace_shard = [](const std::string& name) -> std::optional<fs::path> {
    if (name == "mine") return "/dev/null";
    return std::nullopt;
  };
  script("await=go artifact result=succeeded");
  start();
  json wish = body("a");
  wish["data"]["traces"] = {"mine"};
  const auto answer = call("POST", "/jobs", wish.dump());
  ASSERT_EQ(answer.status, 200) << answer.response.body;
  EXPECT_TRUE(service_->uses_traces("mine"));
  EXPECT_FALSE(service_->uses_traces("other"));
  touch("go");
  ASSERT_TRUE(reaches(answer.body["id"], "succeeded"));
  EXPECT_FALSE(service_->uses_traces("mine"));
}

TEST(JobJson, NumbersThatJsonLacksAreNull) {
  StoredEvent stored{.id = 7, .type = "metrics", .event = {}};
  stored.event.message = "bad \xff byte";
  stored.event.numbers = {
      {"loss", std::numeric_limits<double>::quiet_NaN()}, {"step", 3}, {"share", 0.5}};
  const auto event = json::parse(event_json(stored));
  EXPECT_EQ(event["id"], "ftevent-7");
  EXPECT_TRUE(event["data"]["loss"].is_null());
  EXPECT_TRUE(event["data"]["step"].is_number_integer());
  EXPECT_EQ(event["data"]["share"], 0.5);
  EXPECT_EQ(event["message"], "bad \xEF\xBF\xBD byte");
}

TEST(JobJson, EventNamesGoBothWays) {
  EXPECT_EQ(*parse_event_name(event_name(42), "after"), 42);
  EXPECT_EQ(*parse_event_name("42", "after"), 42);
  for (const char* wrong : {"", "ftevent-", "ftevent--1", "-1", "1x", "99999999999999999999"}) {
    EXPECT_FALSE(parse_event_name(wrong, "after")) << wrong;
  }
}

TEST(Corpora, TheNewestPythonIsTheStandardLibrary) {
  tests::TemporaryFolder folder;
  for (const char* version : {"python3.9", "python3.11", "python3.12", "python3"}) {
    fs::create_directories(folder.path() / "lib" / version);
  }
  EXPECT_FALSE(find_python_stdlib({folder.path()}));
  for (const char* version : {"python3.9", "python3.11"}) {
    ASSERT_TRUE(write_file_atomically(folder.path() / "lib" / version / "os.py", "pass"));
  }
  EXPECT_EQ(find_python_stdlib({folder.path()}), folder.path() / "lib" / "python3.11");
}

}  // namespace
}  // namespace tristill::jobs
