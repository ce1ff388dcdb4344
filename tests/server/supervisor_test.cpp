// Jobs with a worker process: what it does is scripted, see tests/support/fake_worker.cpp.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <string_view>

#include "base/file_lock.h"
#include "server/jobs/outcome.h"
#include "server/jobs/worker_process.h"
#include "tests/support/job_fixture.h"
#include "train/job/job_file.h"

namespace tristill::jobs {
namespace {

namespace fs = std::filesystem;

// What this process logs, while it lives.
class LogFile {
 public:
  explicit LogFile(fs::path file) : file_(std::move(file)), before_(::dup(STDERR_FILENO)) {
    const int fd = ::open(file_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    CHECK(before_ >= 0 && fd >= 0 && ::dup2(fd, STDERR_FILENO) == STDERR_FILENO);
    ::close(fd);
  }
  LogFile(const LogFile&) = delete;
  LogFile& operator=(const LogFile&) = delete;
  ~LogFile() {
    ::dup2(before_, STDERR_FILENO);
    ::close(before_);
  }
  size_t count(std::string_view words) const {
    const auto text = read_file(file_);
    if (!text) return 0;
    size_t n = 0;
    for (size_t at = text->find(words); at != std::string::npos; at = text->find(words, at + 1)) {
      ++n;
    }
    return n;
  }

 private:
  fs::path file_;
  int before_;
};

class Supervision : public tests::JobTest {
 protected:
  fs::path worker_lock(const std::string& id) { return data() / "jobs" / id / "worker.lock"; }
  pid_t worker_pid(const std::string& id) {
    const auto text = read_file(worker_lock(id));
    return text ? std::stoi(*text) : 0;
  }
  bool worker_is_gone(const std::string& id) {
    return tests::until([&] { return !FileLock::is_held(worker_lock(id)); });
  }
  bool told(const std::string& id, size_t n_metrics) {
    return tests::until([&] { return count_events(id, "metrics") >= n_metrics; });
  }
  // As a power cut: what was written last is gone.
  void cut_log(const std::string& id) {
    fs::resize_file(data() / "jobs" / id / "events.jsonl", 10);
  }
};

TEST_F(Supervision, ASuccessfulJobIsServedBeforeItSaysSo) {
  script("metrics=3 checkpoint=3 artifact result=succeeded exit=0");
  std::string status_at_publish;
  std::string id;
  std::atomic<bool> may_publish{false};
  options_.publish_model = [&](const std::string& name, const fs::path& path) {
    tests::until([&] { return may_publish.load(); });
    status_at_publish = status(id);
    return publish(name, path);
  };
  start();
  id = create("tiny");
  may_publish = true;
  ASSERT_TRUE(reaches(id, "succeeded"));
  EXPECT_EQ(status_at_publish, "running");
  const auto done = job(id);
  EXPECT_EQ(done["fine_tuned_model"], "tiny");
  EXPECT_TRUE(done["error"].is_null());
  EXPECT_TRUE(done["finished_at"].is_number_integer());
  EXPECT_EQ(done["progress"]["step"], 2);
  EXPECT_EQ(done["trained_tokens"], 256);
  EXPECT_EQ(published_["tiny"], data() / "models" / "tiny.gguf");
  EXPECT_EQ(*read_file(data() / "models" / "tiny.gguf"), "a model\n");
  EXPECT_EQ(count_events(id, "metrics"), 3u);
  EXPECT_EQ(count_events(id, "artifact"), 1u);
}

TEST_F(Supervision, OtherKindsSucceedWithoutAModel) {
  script("metrics=1 result=succeeded exit=0");
  start();
  const std::string dry =
      create_from({{"kind", "dryrun"}, {"name", "dry"}, {"job", body("inner")}});
  ASSERT_TRUE(reaches(dry, "succeeded"));
  EXPECT_EQ(job(dry)["kind"], "dryrun");
  EXPECT_TRUE(job(dry)["fine_tuned_model"].is_null());
  EXPECT_EQ(job(dry)["result_files"], nlohmann::json::array({"dryrun.json"}));
  const std::string pieces = create_from(
      {{"kind", "tokenizer"}, {"name", "py"}, {"data", {{"corpora", {{{"name", "code"}}}}}}});
  ASSERT_TRUE(reaches(pieces, "succeeded"));
  EXPECT_EQ(job(pieces)["result_files"], nlohmann::json::array({"tokenizer.model"}));
  EXPECT_EQ(n_published(), 0u);
}

TEST_F(Supervision, TeachersAreModelsThatAreServed) {
  script("artifact result=succeeded");
  options_.model_path = [this](const std::string& name) -> std::optional<fs::path> {
    if (name != "big") return std::nullopt;
    return data() / "big.gguf";
  };
  start();
  auto wish = body("a");
  wish["teaching"] = {{"teachers", {{{"model", "big"}}, {{"model", "unheard-of"}}}}};
  const auto refused = call("POST", "/jobs", wish.dump());
  EXPECT_EQ(refused.status, 400);
  EXPECT_EQ(refused.body["error"]["param"], "teaching.teachers[1].model");
  wish["teaching"]["teachers"].erase(1);
  const std::string id = create_from(wish);
  ASSERT_TRUE(reaches(id, "succeeded"));
  const auto file = job::parse_job_file(*read_file(data() / "jobs" / id / "job.json"));
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ(file->teachers, std::vector<std::string>{(data() / "big.gguf").string()});
}

TEST_F(Supervision, ATokenizerJobsResultIsFoundByItsId) {
  script("artifact result=succeeded");
  start();
  auto wish = body("a");
  wish["tokenizer"] = {{"from_job", "ftjob-unheard-of"}};
  const auto refused = call("POST", "/jobs", wish.dump());
  EXPECT_EQ(refused.status, 400);
  EXPECT_EQ(refused.body["error"]["param"], "tokenizer.from_job");
  const job::JobDirectory other{data() / "jobs" / "ftjob-made"};
  ASSERT_TRUE(fs::create_directories(other.root));
  ASSERT_TRUE(write_file_atomically(other.tokenizer(), "pieces"));
  wish["tokenizer"] = {{"from_job", "ftjob-made"}};
  const std::string id = create_from(wish);
  ASSERT_TRUE(reaches(id, "succeeded"));
  const auto file = job::parse_job_file(*read_file(data() / "jobs" / id / "job.json"));
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ(file->tokenizer_pieces, other.tokenizer().string());
}

TEST_F(Supervision, PublishedWeightsBringTheirTokenizer) {
  script("artifact result=succeeded");
  start();
  auto wish = body("a");
  wish["tokenizer"] = {{"from_weights", "unheard-of"}};
  const auto refused = call("POST", "/jobs", wish.dump());
  EXPECT_EQ(refused.status, 400);
  EXPECT_EQ(refused.body["error"]["param"], "tokenizer.from_weights");
  wish["tokenizer"]["from_job"] = "ftjob-made";
  const auto two = call("POST", "/jobs", wish.dump());
  EXPECT_EQ(two.status, 400);
  EXPECT_NE(two.body["error"]["message"].get<std::string>().find("give one of them"),
            std::string::npos);
  ASSERT_TRUE(fs::create_directories(data() / "weights" / "llama"));
  for (const auto& [name, path] :
       {std::pair{"llama", "llama/tokenizer.model"}, std::pair{"other", "other.gguf"}}) {
    ASSERT_TRUE(write_file_atomically(data() / "weights" / path, "pieces"));
    wish["tokenizer"] = {{"from_weights", name}};
    const std::string id = create_from(wish);
    ASSERT_TRUE(reaches(id, "succeeded"));
    const auto file = job::parse_job_file(*read_file(data() / "jobs" / id / "job.json"));
    ASSERT_TRUE(file) << file.error().message;
    EXPECT_EQ(file->tokenizer_weights, (data() / "weights" / path).string());
  }
}

TEST_F(Supervision, JobsRunOneAfterTheOtherOldestFirst) {
  script("await=go artifact result=succeeded");
  start();
  const std::string first = create("a");
  const std::string second = create("b");
  ASSERT_TRUE(reaches(first, "running"));
  EXPECT_EQ(status(second), "queued");
  touch("go");
  ASSERT_TRUE(reaches(second, "succeeded"));
  EXPECT_EQ(status(first), "succeeded");
  EXPECT_LE(job(first)["finished_at"], job(second)["finished_at"]);
}

TEST_F(Supervision, AFailureSaysWhatTheWorkerSaid) {
  script("metrics=1 fail=corrupt exit=65");
  start();
  const std::string id = create("a");
  ASSERT_TRUE(reaches(id, "failed"));
  const auto error = job(id)["error"];
  EXPECT_EQ(error["code"], "corrupt");
  EXPECT_EQ(error["message"], "the script says corrupt");
  EXPECT_EQ(error["param"], "data.corpora");
  EXPECT_EQ(attempts(id), 1u);
  EXPECT_EQ(n_published(), 0u);
}

TEST_F(Supervision, AWrongSpecificationIsNotTriedAgain) {
  script("exit=64");
  start();
  const std::string id = create("a");
  ASSERT_TRUE(reaches(id, "failed"));
  EXPECT_EQ(job(id)["error"]["code"], "invalid_argument");
  EXPECT_EQ(attempts(id), 1u);
}

TEST_F(Supervision, AKilledWorkerGoesOnFromItsCheckpoint) {
  script("metrics=2 checkpoint=10 kill=9\nmetrics=1 artifact result=succeeded");
  start();
  const std::string id = create("a");
  ASSERT_TRUE(reaches(id, "succeeded"));
  EXPECT_EQ(attempts(id), 2u);
  EXPECT_EQ(count_events(id, "metrics"), 3u);
  EXPECT_TRUE(job(id)["error"].is_null());
}

TEST_F(Supervision, AWorkerKilledFromOutsideLosesNothingItSaid) {
  script("metrics=5 checkpoint=4 await=never\nartifact result=succeeded");
  start();
  const std::string id = create("a");
  ASSERT_TRUE(told(id, 5));
  ASSERT_EQ(::kill(worker_pid(id), SIGKILL), 0);
  ASSERT_TRUE(reaches(id, "succeeded"));
  EXPECT_EQ(count_events(id, "metrics"), 5u);
  EXPECT_EQ(count_events(id, "checkpoint"), 1u);
}

TEST_F(Supervision, GivesUpAfterThreeRetriesWithoutProgress) {
  script("kill=9");
  start();
  const std::string id = create("a");
  ASSERT_TRUE(reaches(id, "failed"));
  EXPECT_EQ(attempts(id), 1u + static_cast<size_t>(kMaxRetries));
  const std::string message = job(id)["error"]["message"];
  EXPECT_NE(message.find("signal 9"), std::string::npos) << message;
  EXPECT_NE(message.find("4 times in a row"), std::string::npos) << message;
}

TEST_F(Supervision, ProgressBetweenDeathsGivesNewRetries) {
  script("kill=9\nkill=9\nkill=9\ncheckpoint=1 kill=9\nkill=9\nkill=9\nartifact result=succeeded");
  start();
  const std::string id = create("a");
  ASSERT_TRUE(reaches(id, "succeeded"));
  EXPECT_EQ(attempts(id), 7u);
}

TEST_F(Supervision, ATornLineIsOneWarningAndNoLoss) {
  script("metrics=2 torn kill=9\nmetrics=2 garbage overlong artifact result=succeeded");
  start();
  const std::string id = create("a");
  ASSERT_TRUE(reaches(id, "succeeded"));
  EXPECT_EQ(count_events(id, "metrics"), 4u);
  size_t n_warnings = 0;
  for (const auto& event : events(id)) n_warnings += event["level"] == "warn" ? 1 : 0;
  EXPECT_EQ(n_warnings, 3u);
}

TEST_F(Supervision, CancelOfARunningJobKeepsItsCheckpoint) {
  script("metrics=1 await=never\nartifact result=succeeded");
  start();
  const std::string id = create("a");
  ASSERT_TRUE(told(id, 1));
  const auto answer = call("POST", "/jobs/" + id + "/cancel");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body["status"], "cancelling");
  ASSERT_TRUE(reaches(id, "cancelled"));
  EXPECT_EQ(count_events(id, "checkpoint"), 1u);
  const auto again = call("POST", "/jobs/" + id + "/cancel");
  EXPECT_EQ(again.status, 409);
  EXPECT_EQ(call("POST", "/jobs/" + id + "/resume").status, 200);
  ASSERT_TRUE(reaches(id, "succeeded"));
}

TEST_F(Supervision, AStubbornWorkerIsKilled) {
  script("stubborn metrics=1 await=never");
  options_.kill_after = std::chrono::milliseconds(1);
  start();
  const std::string id = create("a");
  ASSERT_TRUE(told(id, 1));
  EXPECT_EQ(call("POST", "/jobs/" + id + "/cancel").status, 200);
  EXPECT_TRUE(reaches(id, "cancelled"));
}

TEST_F(Supervision, AQueuedJobIsCancelledAtOnce) {
  script("await=go");
  start();
  const std::string first = create("a");
  const std::string second = create("b");
  ASSERT_TRUE(reaches(first, "running"));
  const auto answer = call("POST", "/jobs/" + second + "/cancel");
  EXPECT_EQ(answer.body["status"], "cancelled");
  EXPECT_EQ(attempts(second), 0u);
}

TEST_F(Supervision, ARestartedDaemonAdoptsTheLivingWorker) {
  script("metrics=2 await=go metrics=3 artifact result=succeeded");
  start();
  const std::string id = create("a");
  ASSERT_TRUE(told(id, 2));
  const pid_t pid = worker_pid(id);
  crash();
  start();
  EXPECT_EQ(status(id), "running");
  EXPECT_EQ(worker_pid(id), pid);
  touch("go");
  ASSERT_TRUE(reaches(id, "succeeded"));
  EXPECT_EQ(attempts(id), 1u);
  EXPECT_EQ(count_events(id, "metrics"), 5u);
}

TEST_F(Supervision, AnAdoptedWorkerCanBeCancelled) {
  script("metrics=1 await=never");
  start();
  const std::string id = create("a");
  ASSERT_TRUE(told(id, 1));
  crash();
  start();
  EXPECT_EQ(call("POST", "/jobs/" + id + "/cancel").status, 200);
  EXPECT_TRUE(reaches(id, "cancelled"));
  EXPECT_EQ(attempts(id), 1u);
}

TEST_F(Supervision, AWorkerThatFinishedWhileNoDaemonRanIsBelieved) {
  script("metrics=1 await=go metrics=1 artifact result=succeeded");
  start();
  const std::string id = create("a");
  ASSERT_TRUE(told(id, 1));
  crash();
  touch("go");
  ASSERT_TRUE(worker_is_gone(id));
  start();
  ASSERT_TRUE(reaches(id, "succeeded"));
  EXPECT_EQ(attempts(id), 1u);
  EXPECT_EQ(count_events(id, "metrics"), 2u);
}

TEST_F(Supervision, AWorkerThatDiedWhileNoDaemonRanIsStartedAgain) {
  script("metrics=1 await=never\nartifact result=succeeded");
  start();
  const std::string id = create("a");
  ASSERT_TRUE(told(id, 1));
  crash();
  ASSERT_EQ(::kill(worker_pid(id), SIGKILL), 0);
  ASSERT_TRUE(worker_is_gone(id));
  start();
  ASSERT_TRUE(reaches(id, "succeeded"));
  EXPECT_EQ(attempts(id), 2u);
}

TEST_F(Supervision, StoppingTheDaemonQueuesItsJobAgain) {
  script("metrics=1 await=never\nartifact result=succeeded");
  start();
  const std::string id = create("a");
  ASSERT_TRUE(told(id, 1));
  service_->stop();
  EXPECT_EQ(status(id), "queued");
  EXPECT_EQ(call("POST", "/jobs", body("b").dump()).status, 503);
  crash();
  start();
  ASSERT_TRUE(reaches(id, "succeeded"));
  EXPECT_EQ(attempts(id), 2u);
}

// Only who cancels a job has its worker killed.
TEST_F(Supervision, StoppingTheDaemonDoesNotKillAWorkerAtItsCheckpoint) {
  script("metrics=1 await=never\nartifact result=succeeded");
  options_.kill_after = std::chrono::milliseconds(0);
  start();
  const std::string id = create("a");
  ASSERT_TRUE(told(id, 1));
  service_->stop();
  EXPECT_EQ(status(id), "queued");
  EXPECT_EQ(count_events(id, "checkpoint"), 1u);
}

TEST_F(Supervision, APowerCutWhileAJobRanSwallowsNoLaterEvent) {
  script("metrics=5 await=never\nmetrics=1 artifact result=succeeded");
  start();
  const std::string id = create("a");
  ASSERT_TRUE(told(id, 5));
  crash();
  ASSERT_EQ(::kill(worker_pid(id), SIGKILL), 0);
  ASSERT_TRUE(worker_is_gone(id));
  cut_log(id);
  start();
  ASSERT_TRUE(reaches(id, "succeeded"));
  EXPECT_EQ(attempts(id), 2u);
  EXPECT_EQ(count_events(id, "metrics"), 6u);
}

TEST_F(Supervision, APowerCutWhileAJobWaitedSwallowsNoLaterEvent) {
  script("metrics=5 await=never\nmetrics=1 artifact result=succeeded");
  start();
  const std::string id = create("a");
  ASSERT_TRUE(told(id, 5));
  stop();
  cut_log(id);
  start();
  ASSERT_TRUE(reaches(id, "succeeded"));
  EXPECT_EQ(attempts(id), 2u);
  EXPECT_EQ(count_events(id, "metrics"), 6u);
}

// What hinders one job hinders all: none fails for it, and all go on when it has passed.
TEST_F(Supervision, JobsWaitWhileNoProcessCanBeStarted) {
  script("artifact result=succeeded");
  options_.worker_binary = data() / "worker";
  ASSERT_TRUE(write_file_atomically(options_.worker_binary, ""));  // which nobody may execute
  const LogFile logged(data() / "log");
  start();
  const std::string first = create("a");
  const std::string second = create("b");
  // Each try writes it where it is missing: that it comes back shows that one more was made.
  const fs::path prepared = data() / "jobs" / first / "job.json";
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(tests::until([&] { return fs::exists(prepared); }));
    fs::remove(prepared);
  }
  ASSERT_TRUE(tests::until([&] { return fs::exists(prepared); }));
  EXPECT_TRUE(reaches(second, "queued"));  // each try says running until it has failed
  EXPECT_EQ(logged.count("jobs stand still"), 1u);
  fs::create_symlink(TRISTILL_FAKE_WORKER, data() / "worker.new");
  fs::rename(data() / "worker.new", options_.worker_binary);
  // Whichever is tried first when the program is there.
  ASSERT_TRUE(reaches(first, "succeeded"));
  ASSERT_TRUE(reaches(second, "succeeded"));
  EXPECT_EQ(attempts(first), 1u);
  size_t n_started = 0;
  for (const auto& event : events(first)) n_started += event["message"] == "Job started" ? 1 : 0;
  EXPECT_EQ(n_started, 1u);
}

// Its own folder may be what is wrong, as after a restore by another user.
TEST_F(Supervision, AJobThatCannotStartDoesNotHoldUpTheOthers) {
  script("artifact result=succeeded");
  const LogFile logged(data() / "log");
  options_.worker_binary = data() / "worker";
  ASSERT_TRUE(write_file_atomically(options_.worker_binary, ""));  // which nobody may execute
  start();
  const std::string first = create("a");
  ASSERT_TRUE(tests::until([&] { return logged.count("jobs stand still") > 0; }));
  const fs::path log = data() / "jobs" / first / "job.log";
  fs::remove(log);
  ASSERT_TRUE(fs::create_directory(log));  // which nobody can write to
  fs::create_symlink(TRISTILL_FAKE_WORKER, data() / "worker.new");
  fs::rename(data() / "worker.new", options_.worker_binary);
  const std::string second = create("b");
  ASSERT_TRUE(reaches(second, "succeeded"));
  EXPECT_TRUE(reaches(first, "queued"));  // each try says running until it has failed
  ASSERT_TRUE(fs::remove(log));
  EXPECT_TRUE(reaches(first, "succeeded"));
}

TEST_F(Supervision, JobsWaitWhileNoFolderCanBeMade) {
  script("artifact result=succeeded");
  const LogFile logged(data() / "log");
  start();
  ASSERT_TRUE(fs::remove(data() / "jobs"));
  touch("jobs");
  const std::string id = create("a");
  ASSERT_TRUE(tests::until([&] { return logged.count("jobs stand still") > 0; }));
  EXPECT_EQ(status(id), "queued");
  ASSERT_TRUE(fs::remove(data() / "jobs"));
  EXPECT_TRUE(reaches(id, "succeeded"));
}

TEST_F(Supervision, AModelThatCannotBeServedFailsItsJob) {
  script("artifact result=succeeded");
  ASSERT_TRUE(fs::create_directories(data() / "models"));
  ASSERT_TRUE(write_file_atomically(data() / "models" / "a.gguf", "the former model\n"));
  options_.publish_model = [](const std::string&, const fs::path&) -> Result<void> {
    return Error{ErrorCode::corrupt, "not a model at all", "model"};
  };
  start();
  const std::string id = create("a");
  ASSERT_TRUE(reaches(id, "failed"));
  const auto error = job(id)["error"];
  EXPECT_EQ(error["code"], "corrupt");
  EXPECT_NE(error["message"].get<std::string>().find("not a model at all"), std::string::npos);
  EXPECT_TRUE(job(id)["fine_tuned_model"].is_null());
  EXPECT_EQ(*read_file(data() / "models" / "a.gguf"), "the former model\n");
}

TEST_F(Supervision, APausedWorkerLeavesTheJobToAPersonWhoMayResumeIt) {
  script("checkpoint=3 result=paused exit=75\nartifact result=succeeded");
  start();
  const std::string id = create("a");
  ASSERT_TRUE(reaches(id, "paused"));
  EXPECT_EQ(job(id)["error"]["code"], "collapsed");
  EXPECT_EQ(call("POST", "/jobs/" + id + "/resume").status, 200);
  ASSERT_TRUE(reaches(id, "succeeded"));
  EXPECT_TRUE(job(id)["error"].is_null());
}

TEST_F(Supervision, ASucceededWorkerWithoutAModelFails) {
  script("result=succeeded");
  start();
  const std::string id = create("a");
  ASSERT_TRUE(reaches(id, "failed"));
  EXPECT_EQ(job(id)["error"]["code"], "not_found");
}

TEST_F(Supervision, AMissingWorkerProgramFailsTheJobAndNotTheDaemon) {
  script("exit=0");
  options_.worker_binary = data() / "no-such-program";
  start();
  const std::string id = create("a");
  ASSERT_TRUE(reaches(id, "failed"));
  const std::string message = job(id)["error"]["message"];
  EXPECT_NE(message.find("no-such-program"), std::string::npos) << message;
}

TEST_F(Supervision, TheWorkerSeesNoSecretsAndNoSockets) {
  ::setenv("TRISTILL_API_KEY", "hunter2", 1);
  script("report artifact result=succeeded");
  start();
  const std::string id = create("a");
  ASSERT_TRUE(reaches(id, "succeeded"));
  ::unsetenv("TRISTILL_API_KEY");
  const auto report = read_file(data() / "jobs" / id / "report");
  ASSERT_TRUE(report);
  EXPECT_EQ(report->find("hunter2"), std::string::npos);
  EXPECT_EQ(report->find("tristill.db"), std::string::npos);
  EXPECT_EQ(report->find("socket:"), std::string::npos);
  EXPECT_NE(report->find("session=1"), std::string::npos);
  EXPECT_NE(report->find("cwd=" + fs::canonical(data()).string() + "/jobs/" + id),
            std::string::npos);
}

TEST(Judge, UnknownEndsDoNotCount) {
  Job job;
  job.state = job::JobState::running;
  job.failures = 3;
  const Verdict verdict = judge(job, std::nullopt, ProcessEnd{});
  EXPECT_EQ(verdict.next, NextStep::queue);
  EXPECT_EQ(verdict.failures, 3);
}

TEST(Judge, TheResultCountsMoreThanTheExitCode) {
  Job job;
  job.state = job::JobState::running;
  job::Event result;
  result.texts = {{"outcome", "succeeded"}};
  EXPECT_EQ(judge(job, result, {.exit_code = 70, .signal = {}}).next, NextStep::finish);
  job.state = job::JobState::cancelling;
  EXPECT_EQ(judge(job, result, {.exit_code = 0, .signal = {}}).next, NextStep::cancel);
}

TEST(Judge, NamesEndsInWords) {
  EXPECT_NE(in_words({.exit_code = 71, .signal = {}}).find("out of memory or disk"),
            std::string::npos);
  EXPECT_NE(in_words({.exit_code = {}, .signal = SIGSEGV}).find("signal 11"), std::string::npos);
  Job job;
  job.state = job::JobState::running;
  const Verdict wrong = judge(job, std::nullopt, {.exit_code = 65, .signal = {}});
  EXPECT_EQ(wrong.next, NextStep::fail);
  EXPECT_EQ(wrong.failure.code, "corrupt");
}

}  // namespace
}  // namespace tristill::jobs
