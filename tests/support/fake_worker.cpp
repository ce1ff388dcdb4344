// A program that behaves like tristill-worker, by script: line N of DATA/fake_worker.script is what
// attempt N does (the last line again and again). Words of a line, done in order:
//   metrics=N       N metrics events           checkpoint=STEP  a checkpoint and its event
//   artifact        student.gguf and its event result=OUTCOME   the result event
//   fail=CODE       a failed result event      exit=N           ends
//   kill=N          kills itself by signal N   torn             half a line, no newline
//   garbage         a line that is no event    overlong         a line of two megabytes
//   await=FILE      until DATA/FILE exists     stubborn         SIGTERM is ignored from now on
//   report          tells its circumstances in the file `report`
// SIGTERM while it awaits: a checkpoint, result "interrupted", exit 75, as the real one.
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "base/atomic_file.h"
#include "base/exit_code.h"
#include "base/file_lock.h"
#include "train/job/directory.h"
#include "train/job/event.h"
#include "train/job/job_file.h"

extern char** environ;

namespace tristill {
namespace {

namespace fs = std::filesystem;

std::atomic<bool> stop_wanted{false};

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts(1);
  for (const char c : text) {
    if (c == separator) {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

class FakeWorker {
 public:
  explicit FakeWorker(job::JobDirectory directory)
      : directory_(std::move(directory)), data_(directory_.root.parent_path().parent_path()) {
    events_ = ::open(directory_.events().c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (events_ < 0) std::exit(kExitResource);
    const off_t size = ::lseek(events_, 0, SEEK_END);
    char last = '\n';
    if (size > 0 && ::pread(events_, &last, 1, size - 1) == 1 && last != '\n') append("\n");
  }

  int run() {
    for (const std::string& word : split(line(), ' ')) {
      const size_t equals = word.find('=');
      const std::string value = equals == std::string::npos ? "" : word.substr(equals + 1);
      act(word.substr(0, equals), value);
    }
    return kExitOk;
  }

 private:
  void append(const std::string& bytes) {
    if (!write_all(events_, bytes, directory_.events())) std::exit(kExitResource);
  }
  void tell(const job::Event& event) { append(job::format_event(event) + "\n"); }

  // The script's line for this attempt.
  std::string line() {
    const fs::path counter = directory_.root / "attempts";
    const auto before = read_file(counter);
    const std::string attempts = (before ? *before : std::string()) + "x";
    if (!write_file_atomically(counter, attempts)) std::exit(kExitResource);
    const auto script = read_file(data_ / "fake_worker.script");
    if (!script) std::exit(kExitUsage);
    std::vector<std::string> lines = split(*script, '\n');
    while (lines.size() > 1 && lines.back().empty()) lines.pop_back();
    return lines[std::min(attempts.size(), lines.size()) - 1];
  }

  void result(const std::string& outcome, const std::string& code) {
    job::Event event;
    event.type = job::EventType::result;
    event.message = outcome == "failed" ? "the script says " + code : outcome;
    event.texts = {{"outcome", outcome}};
    if (outcome == "paused") event.texts["code"] = "collapsed";
    if (!code.empty()) event.texts["code"] = code;
    if (!code.empty()) event.texts["param"] = "data.corpora";
    tell(event);
  }

  void checkpoint(int step) {
    char name[32];
    std::snprintf(name, sizeof name, "%08d", step);
    fs::create_directories(directory_.checkpoints() / name);
    job::Event event;
    event.type = job::EventType::checkpoint;
    event.message = "checkpoint";
    event.numbers = {{"step", step}};
    tell(event);
    step_ = step;
  }

  void metrics(int count) {
    for (int i = 0; i < count; ++i) {
      job::Event event;
      event.type = job::EventType::metrics;
      event.time = 1700000000.0 + i;
      event.numbers = {{"step", i}, {"loss", 5.5 - 0.001 * i}, {"tokens", 128.0 * i}};
      tell(event);
    }
  }

  void artifact() {
    if (!write_file_atomically(directory_.model(), "a model\n")) std::exit(kExitResource);
    job::Event event;
    event.type = job::EventType::artifact;
    event.texts = {{"kind", "model"}, {"path", "student.gguf"}};
    tell(event);
  }

  void await(const fs::path& file) {
    while (!fs::exists(file)) {
      if (stop_wanted) {
        checkpoint(step_ + 1);
        result("interrupted", "");
        std::exit(kExitInterrupted);
      }
      if (!fs::exists(data_)) std::exit(kExitNotFound);  // the test is over
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }

  void report() {
    std::string text = "cwd=" + fs::current_path().string() + "\n";
    text += "nice=" + std::to_string(::getpriority(PRIO_PROCESS, 0)) + "\n";
    text += "session=" + std::to_string(::getsid(0) == ::getpid()) + "\n";
    const auto score = read_file("/proc/self/oom_score_adj");
    text += "oom=" + (score ? *score : std::string("?\n"));
    for (char** variable = environ; *variable != nullptr; ++variable) {
      text += "env " + std::string(*variable) + "\n";
    }
    for (const auto& fd : fs::directory_iterator("/proc/self/fd")) {
      std::error_code error;
      text += "fd " + fs::read_symlink(fd.path(), error).string() + "\n";
    }
    if (!write_file_atomically(directory_.root / "report", text)) std::exit(kExitResource);
  }

  void act(const std::string& word, const std::string& value) {
    if (word == "metrics") metrics(std::stoi(value));
    if (word == "checkpoint") checkpoint(std::stoi(value));
    if (word == "artifact") artifact();
    if (word == "result") result(value, "");
    if (word == "fail") result("failed", value);
    if (word == "exit") std::exit(std::stoi(value));
    if (word == "kill") ::raise(std::stoi(value));
    if (word == "torn") append("{\"type\":\"metr");
    if (word == "garbage") append("this is no event\n");
    if (word == "overlong") append(std::string(size_t{1} << 21, 'a') + "\n");
    if (word == "await") await(data_ / value);
    if (word == "stubborn") ::signal(SIGTERM, SIG_IGN);
    if (word == "report") report();
  }

  job::JobDirectory directory_;
  fs::path data_;
  int events_ = -1;
  int step_ = 0;
};

int run(const char* root) {
  ::signal(SIGTERM, [](int) { stop_wanted = true; });
  const job::JobDirectory directory{root};
  const auto lock = FileLock::acquire(directory.lock());
  if (!lock) return exit_code(lock.error().code);
  const auto text = read_file(directory.job_file());
  if (!text || !job::parse_job_file(*text)) return kExitUsage;
  return FakeWorker(directory).run();
}

}  // namespace
}  // namespace tristill

int main(int argc, char** argv) { return argc == 2 ? tristill::run(argv[1]) : 64; }
