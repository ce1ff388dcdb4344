// The real worker as several ranks: the same bytes as one, whoever starts them; what happens when
// one is lost, and when the run is asked to stop.
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <spawn.h>
#include <sys/inotify.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <map>

#include "base/atomic_file.h"
#include "base/exit_code.h"
#include "base/file_lock.h"
#include "model/format/model_file.h"
#include "tests/support/test_model.h"
#include "tests/train/torch/source_folder.h"
#include "train/checkpoint.h"
#include "train/job/directory.h"
#include "train/job/event.h"
#include "train/job/job_file.h"

extern char** environ;

namespace tristill::train {
namespace {

namespace fs = std::filesystem;

class RanksRunTest : public ::testing::Test {
 protected:
  RanksRunTest() {
    std::string name = (fs::temp_directory_path() / "tristill-ranks-run-XXXXXX").string();
    root_ = ::mkdtemp(name.data());
    write_sources(root_ / "corpus", 20);
    const auto model = test::random_model({.seed = 1});
    EXPECT_TRUE(write_model_file(root_ / "tokenizer.gguf", model, *test::tiny_tokenizer(), {}));
  }
  ~RanksRunTest() override { fs::remove_all(root_); }

  job::JobFile job(uint32_t ranks) const {
    job::JobFile file;
    file.id = "ftjob-test";
    job::TrainSpec& spec = file.train();
    spec.name = "tiny";
    spec.model = test::random_model({.seed = 1}).config;
    spec.budget.max_steps = 10;
    spec.batch_tokens = 512;
    spec.sequence_length = 64;
    spec.micro_batches = 4;
    spec.ranks = ranks;
    spec.threads = ranks;  // one each
    spec.log_every = 1;
    spec.eval_tokens = 1024;
    spec.eval_every = 4;
    spec.data.corpora = {{.name = "test"}};
    spec.data.held_out = 0.2;
    spec.tokenizer.from_model = "tiny";
    file.corpora = {{{.name = "test"}, (root_ / "corpus").string()}};
    file.tokenizer_model = (root_ / "tokenizer.gguf").string();
    return file;
  }

  // Only a signal ends it.
  job::JobFile endless_job(uint32_t ranks) const {
    job::JobFile file = job(ranks);
    file.train().budget.max_steps = 1'000'000;
    return file;
  }

  job::JobDirectory place(const std::string& name, const job::JobFile& file) const {
    const job::JobDirectory directory{root_ / name};
    fs::create_directories(directory.root);
    EXPECT_TRUE(write_file_atomically(directory.job_file(), job::format_job_file(file)));
    return directory;
  }

  fs::path root_;
};

pid_t start(const job::JobDirectory& directory, const std::vector<std::string>& variables = {}) {
  std::vector<std::string> texts = variables;
  for (char** entry = environ; *entry != nullptr; ++entry) texts.emplace_back(*entry);
  std::vector<char*> environment;
  for (std::string& text : texts) environment.push_back(text.data());
  environment.push_back(nullptr);
  std::string program = TRISTILL_TEST_WORKER;
  std::string argument = directory.root.string();
  char* arguments[] = {program.data(), argument.data(), nullptr};
  pid_t pid = -1;
  EXPECT_EQ(::posix_spawn(&pid, program.c_str(), nullptr, nullptr, arguments, environment.data()),
            0);
  return pid;
}

int await(pid_t pid) {
  int status = 0;
  EXPECT_EQ(::waitpid(pid, &status, 0), pid);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

std::vector<job::Event> events_of(const job::JobDirectory& directory) {
  std::vector<job::Event> events;
  std::ifstream in(directory.events());
  for (std::string line; std::getline(in, line);) {
    if (const auto event = job::parse_event(line)) events.push_back(*event);
  }
  return events;
}

// What training told, without what is of time.
std::vector<std::map<std::string, double>> numbers_of(const job::JobDirectory& directory) {
  std::vector<std::map<std::string, double>> numbers;
  for (job::Event& event : events_of(directory)) {
    if (event.type != job::EventType::metrics) continue;
    event.numbers.erase("tokens_per_second");
    numbers.push_back(event.numbers);
  }
  return numbers;
}

// Blocks until an event of this type is in the log.
void await_event(const job::JobDirectory& directory, job::EventType type) {
  const int watch = ::inotify_init1(IN_CLOEXEC);
  ASSERT_GE(::inotify_add_watch(watch, directory.root.c_str(), IN_MODIFY | IN_CREATE), 0);
  const auto told = [&] {
    return std::ranges::any_of(events_of(directory),
                               [&](const job::Event& event) { return event.type == type; });
  };
  pollfd change{watch, POLLIN, 0};
  std::array<char, 4096> changes{};
  while (!told()) {
    ASSERT_EQ(::poll(&change, 1, 120'000), 1) << "nothing happens any more";
    ASSERT_GT(::read(watch, changes.data(), changes.size()), 0);
  }
  ::close(watch);
}

std::vector<pid_t> children_of(pid_t pid) {
  const std::string id = std::to_string(pid);
  std::ifstream in("/proc/" + id + "/task/" + id + "/children");
  std::vector<pid_t> children;
  for (pid_t child = 0; in >> child;) children.push_back(child);
  return children;
}

void expect_same_run(const job::JobDirectory& a, const job::JobDirectory& b) {
  EXPECT_EQ(numbers_of(a), numbers_of(b));
  EXPECT_EQ(numbers_of(a).size(), 13U);  // a step each, and three evaluations
  std::string skipped;
  const auto x = load_newest_checkpoint(a.checkpoints(), skipped);
  const auto y = load_newest_checkpoint(b.checkpoints(), skipped);
  ASSERT_TRUE(x && y);
  EXPECT_EQ(x->step, 10);
  ASSERT_EQ(x->tensors.size(), y->tensors.size());
  for (const auto& [name, tensor] : x->tensors) {
    if (name == "run.numbers") continue;  // holds seconds
    EXPECT_TRUE(tensor.equal(y->tensors.at(name))) << name;
  }
  EXPECT_EQ(*read_file(a.model()), *read_file(b.model()));
}

TEST_F(RanksRunTest, TwoRanksEqualOneBitForBit) {
  const auto one = place("one", job(1));
  const auto two = place("two", job(2));
  ASSERT_EQ(await(start(one)), kExitOk);
  ASSERT_EQ(await(start(two)), kExitOk);
  expect_same_run(one, two);
}

TEST_F(RanksRunTest, FourRanksInFullPrecisionThatWarmUpEqualOne) {
  auto file = job(1);
  file.train().precision = job::Precision::fp32;
  file.train().quantization.lambda_warmup_steps = 6;
  file.train().optimizer.norm_pinning = true;
  const auto one = place("one", file);
  file.train().ranks = file.train().threads = 4;
  const auto four = place("four", file);
  ASSERT_EQ(await(start(one)), kExitOk);
  ASSERT_EQ(await(start(four)), kExitOk);
  expect_same_run(one, four);
}

// A bias goes with the packed weights; a learned scale, whose way back needs latents, with these.
TEST_F(RanksRunTest, RanksWithEveryRuleEqualOne) {
  for (const auto rule : {job::WeightRule::tequila, job::WeightRule::lsq}) {
    const std::string name = std::to_string(static_cast<int>(rule));
    auto file = job(1);
    file.train().quantization.weights = rule;
    const auto one = place("one" + name, file);
    file.train().ranks = file.train().threads = 2;
    const auto two = place("two" + name, file);
    ASSERT_EQ(await(start(one)), kExitOk);
    ASSERT_EQ(await(start(two)), kExitOk);
    expect_same_run(one, two);
  }
}

// Random draws that every rank makes for itself, losses that all measure together, and a state with
// nothing in it but a norm; going on draws what was drawn.
TEST_F(RanksRunTest, RanksWithOptimisersThatDrawEqualOneAndGoOn) {
  const auto plain = place("plain", job(1));
  ASSERT_EQ(await(start(plain)), kExitOk);
  const job::OptimizerSpec probing{.fogzo_beta = 0.9};
  const job::OptimizerSpec pinned{
      .kind = job::OptimizerKind::sgld, .lr = 5e-3, .norm_pinning = true};
  for (const job::OptimizerSpec& optimizer : {probing, pinned}) {
    const std::string name = optimizer.norm_pinning ? "pinned" : "probing";
    SCOPED_TRACE(name);
    auto file = job(1);
    file.train().optimizer = optimizer;
    const auto one = place(name + "-one", file);
    file.train().ranks = file.train().threads = 2;
    file.train().checkpoint_seconds = 0;
    const auto two = place(name + "-two", file);
    ASSERT_EQ(await(start(one)), kExitOk);
    ASSERT_EQ(await(start(two)), kExitOk);
    expect_same_run(one, two);
    fs::remove_all(two.checkpoints() / "00000010");
    fs::remove(two.model());
    ASSERT_EQ(await(start(two)), kExitOk);
    EXPECT_EQ(*read_file(one.model()), *read_file(two.model()));
    EXPECT_NE(*read_file(one.model()), *read_file(plain.model()));
  }
}

// Factors go in fp32; the base goes once, from the rank that read it.
TEST_F(RanksRunTest, RanksThatAdaptAModelEqualOne) {
  auto file = job(1);
  file.train().quantized = false;
  const auto before = place("before", file);
  ASSERT_EQ(await(start(before)), kExitOk);
  file.train().init_from = "before";
  file.init_checkpoints = before.checkpoints().string();
  file.train().lora = {.rank = 4, .alpha = 8, .targets = {"attn_k", "ffn_up", "ffn_down"}};
  file.train().optimizer.kind = job::OptimizerKind::adamw;
  file.train().seed = 2;
  const auto one = place("one", file);
  file.train().ranks = file.train().threads = 2;
  const auto two = place("two", file);
  ASSERT_EQ(await(start(one)), kExitOk);
  ASSERT_EQ(await(start(two)), kExitOk);
  expect_same_run(one, two);
}

TEST_F(RanksRunTest, OneRankGoesOnWhereTwoStopped) {
  const auto straight = place("straight", job(1));
  ASSERT_EQ(await(start(straight)), kExitOk);
  auto file = job(2);
  file.train().checkpoint_seconds = 0;  // after every step
  const auto parts = place("parts", file);
  ASSERT_EQ(await(start(parts)), kExitOk);
  // Back to the checkpoint before the last: what a kill would have left.
  fs::remove_all(parts.checkpoints() / "00000010");
  fs::remove(parts.model());
  place("parts", job(1));
  ASSERT_EQ(await(start(parts)), kExitOk);
  EXPECT_EQ(*read_file(straight.model()), *read_file(parts.model()));
}

// A port that was free a moment ago.
int free_port() {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  EXPECT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&address), size), 0);
  EXPECT_EQ(::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size), 0);
  ::close(fd);
  return ntohs(address.sin_port);
}

// What a launcher tells one of two ranks.
std::vector<std::string> one_of_two(int rank, int port) {
  return {"RANK=" + std::to_string(rank), "WORLD_SIZE=2", "MASTER_ADDR=127.0.0.1",
          "MASTER_PORT=" + std::to_string(port)};
}

TEST_F(RanksRunTest, RanksOfALauncherEqualOne) {
  const auto one = place("one", job(1));
  ASSERT_EQ(await(start(one)), kExitOk);
  const auto launched = place("launched", job(1));
  const int port = free_port();
  const pid_t second = start(launched, one_of_two(1, port));
  const pid_t first = start(launched, one_of_two(0, port));
  EXPECT_EQ(await(first), kExitOk);
  EXPECT_EQ(await(second), kExitOk);
  expect_same_run(one, launched);
}

// As where traces come in between, or two machines have other versions of a corpus.
TEST_F(RanksRunTest, RanksThatReadOtherDataAreRefusedByName) {
  const auto here = place("here", job(1));
  auto other = job(1);
  write_sources(root_ / "other", 19);
  other.corpora[0].path = (root_ / "other").string();
  const auto there = place("there", other);
  const int port = free_port();
  const pid_t second = start(there, one_of_two(1, port));
  const pid_t first = start(here, one_of_two(0, port));
  EXPECT_EQ(await(first), kExitUsage);
  EXPECT_EQ(await(second), kExitUsage);
  const auto events = events_of(here);
  ASSERT_FALSE(events.empty());
  EXPECT_EQ(events.back().texts.at("param"), "data");
  EXPECT_NE(events.back().message.find("rank 1 reads other data"), std::string::npos);
}

TEST_F(RanksRunTest, MoreRanksThanMicroBatchesAreRefusedByName) {
  const auto launched = place("launched", job(1));
  EXPECT_EQ(await(start(launched, {"RANK=0", "WORLD_SIZE=8"})), kExitUsage);
  const auto events = events_of(launched);
  ASSERT_FALSE(events.empty());
  EXPECT_EQ(events.back().texts.at("param"), "micro_batches");
}

TEST_F(RanksRunTest, AKilledRankEndsTheJobAndIsNamed) {
  const auto file = endless_job(2);
  const auto killed = place("killed", file);
  const pid_t pid = start(killed);
  await_event(killed, job::EventType::metrics);
  const auto others = children_of(pid);
  ASSERT_EQ(others.size(), 1U);
  ::kill(others[0], SIGKILL);
  EXPECT_EQ(await(pid), kExitUnavailable);
  const job::Event result = events_of(killed).back();
  EXPECT_EQ(result.type, job::EventType::result);
  EXPECT_EQ(result.texts.at("outcome"), "failed");
  EXPECT_EQ(result.texts.at("code"), "unavailable");
  EXPECT_NE(result.message.find("rank 1 was killed by signal 9"), std::string::npos)
      << result.message;
}

TEST_F(RanksRunTest, NoRankOutlivesTheFirst) {
  const auto file = endless_job(4);
  const auto orphaned = place("orphaned", file);
  const pid_t pid = start(orphaned);
  await_event(orphaned, job::EventType::metrics);
  std::vector<int> others;
  for (const pid_t child : children_of(pid))
    others.push_back(static_cast<int>(::syscall(SYS_pidfd_open, child, 0)));
  ASSERT_EQ(others.size(), 3U);
  ::kill(pid, SIGKILL);
  EXPECT_EQ(await(pid), -SIGKILL);
  for (const int other : others) {
    pollfd end{other, POLLIN, 0};
    EXPECT_EQ(::poll(&end, 1, 30'000), 1) << "a rank lives on";
    ::close(other);
  }
}

TEST_F(RanksRunTest, WhatKilledWorkersLeftIsRemovedByTheHolderOfTheLock) {
  const job::JobDirectory left{root_ / "left"};
  fs::create_directories(left.checkpoints());
  const fs::path leftovers[] = {left.root / "student.gguf.tmp-12-0", left.root / "ranks.4711"};
  const fs::path others[] = {left.model(), left.root / "ranks",
                             left.checkpoints() / "state.pt.tmp-12-0"};
  for (const fs::path& file : leftovers) ASSERT_TRUE(write_file_atomically(file, "x"));
  for (const fs::path& file : others) ASSERT_TRUE(write_file_atomically(file, "x"));
  {
    const auto lock = FileLock::acquire(left.lock());
    ASSERT_TRUE(lock);
    EXPECT_EQ(await(start(left)), kExitConflict);
    for (const fs::path& file : leftovers) EXPECT_TRUE(fs::exists(file)) << file;
  }
  EXPECT_EQ(await(start(left)), kExitNotFound);  // there is no job.json
  for (const fs::path& file : leftovers) EXPECT_FALSE(fs::exists(file)) << file;
  for (const fs::path& file : others) EXPECT_TRUE(fs::exists(file)) << file;
}

// The signal may reach any rank.
TEST_F(RanksRunTest, AskedToStopTheyCheckpointOnce) {
  for (const bool ask_the_other : {false, true}) {
    const auto file = endless_job(2);
    const auto stopped = place(ask_the_other ? "other" : "first", file);
    const pid_t pid = start(stopped);
    await_event(stopped, job::EventType::metrics);
    ::kill(ask_the_other ? children_of(pid).at(0) : pid, SIGTERM);
    EXPECT_EQ(await(pid), kExitInterrupted);
    const auto events = events_of(stopped);
    EXPECT_EQ(events.back().texts.at("outcome"), "interrupted");
    EXPECT_EQ(std::ranges::count_if(
                  events,
                  [](const job::Event& event) { return event.type == job::EventType::checkpoint; }),
              1);
  }
}

}  // namespace
}  // namespace tristill::train
