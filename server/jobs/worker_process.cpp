#include "server/jobs/worker_process.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "base/atomic_file.h"
#include "base/exec_list.h"
#include "base/file_lock.h"
#include "base/log.h"

namespace tristill::jobs {
namespace {

constexpr int kNiceness = 10;

// What a worker may know of the daemon's environment. Secrets are not among it.
constexpr std::array kPassedOn = {
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "CUDA_VISIBLE_DEVICES",
    "OMP_NUM_THREADS",
};

std::vector<std::string> worker_environment() {
  std::vector<std::string> variables;
  for (const char* name : kPassedOn) {
    if (const char* value = std::getenv(name)) variables.push_back(std::string(name) + "=" + value);
  }
  return variables;
}

// posix_spawn's two option objects, freed whatever happens.
struct SpawnOptions {
  SpawnOptions() {
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
  }
  SpawnOptions(const SpawnOptions&) = delete;
  SpawnOptions& operator=(const SpawnOptions&) = delete;
  ~SpawnOptions() {
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
  }
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
};

void prepare(SpawnOptions& options, const job::JobDirectory& directory) {
  auto* actions = &options.actions;
  posix_spawn_file_actions_addchdir_np(actions, directory.root.c_str());
  posix_spawn_file_actions_addopen(actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(actions, STDOUT_FILENO, directory.log().c_str(),
                                   O_WRONLY | O_CREAT | O_APPEND, 0644);
  posix_spawn_file_actions_adddup2(actions, STDOUT_FILENO, STDERR_FILENO);
  posix_spawn_file_actions_addclosefrom_np(actions, STDERR_FILENO + 1);

  sigset_t none;
  sigemptyset(&none);
  sigset_t all_defaults;
  sigfillset(&all_defaults);
  posix_spawnattr_setsigmask(&options.attributes, &none);
  posix_spawnattr_setsigdefault(&options.attributes, &all_defaults);
  posix_spawnattr_setflags(&options.attributes,
                           POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
}

// Serving goes first: for processor time, and when the kernel must end someone.
void give_way(pid_t pid) {
  errno = 0;
  const int own = ::getpriority(PRIO_PROCESS, 0);
  if (errno == 0) ::setpriority(PRIO_PROCESS, static_cast<id_t>(pid), own + kNiceness);
  const std::string file = "/proc/" + std::to_string(pid) + "/oom_score_adj";
  const int fd = ::open(file.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) return;
  if (::write(fd, "500", 3) != 3) log_warn("cannot set oom_score_adj", {{"file", file}});
  ::close(fd);
}

std::optional<pid_t> read_pid(const std::filesystem::path& lock) {
  const auto text = read_file(lock, 64);
  if (!text) return std::nullopt;
  pid_t pid = 0;
  const auto parsed = std::from_chars(text->data(), text->data() + text->size(), pid);
  if (parsed.ec != std::errc{} || pid <= 1) return std::nullopt;
  return pid;
}

}  // namespace

Result<WorkerProcess> WorkerProcess::spawn(const std::filesystem::path& binary,
                                           const job::JobDirectory& directory) {
  SpawnOptions options;
  prepare(options, directory);
  std::vector<std::string> arguments = {binary.string(), directory.root.string()};
  std::vector<std::string> environment = worker_environment();
  auto argument_list = exec_list(arguments);
  auto environment_list = exec_list(environment);
  pid_t pid = 0;
  const int status = ::posix_spawn(&pid, binary.c_str(), &options.actions, &options.attributes,
                                   argument_list.data(), environment_list.data());
  if (status != 0) {
    return Error{status == ENOENT ? ErrorCode::not_found : ErrorCode::unavailable,
                 "cannot start the worker " + binary.string() + ": " + std::strerror(status), ""};
  }
  give_way(pid);
  return WorkerProcess(pid, true, directory);
}

std::optional<WorkerProcess> WorkerProcess::adopt(const job::JobDirectory& directory) {
  if (!FileLock::is_held(directory.lock())) return std::nullopt;
  return WorkerProcess(read_pid(directory.lock()).value_or(0), false, directory);
}

std::optional<ProcessEnd> WorkerProcess::ended() {
  if (!is_child_) {
    if (FileLock::is_held(directory_.lock())) return std::nullopt;
    return ProcessEnd{};
  }
  int status = 0;
  const pid_t reaped = ::waitpid(pid_, &status, WNOHANG);
  if (reaped == 0 || (reaped < 0 && errno == EINTR)) return std::nullopt;
  ProcessEnd end;
  if (reaped == pid_ && WIFEXITED(status)) end.exit_code = WEXITSTATUS(status);
  if (reaped == pid_ && WIFSIGNALED(status)) end.signal = WTERMSIG(status);
  return end;
}

// A child's number is not given anew before it is reaped; an adopted worker's while it holds
// its lock.
bool WorkerProcess::is_ours() const {
  if (pid_ <= 1) return false;
  return is_child_ || (FileLock::is_held(directory_.lock()) && read_pid(directory_.lock()) == pid_);
}

void WorkerProcess::ask_to_stop() {
  if (!is_child_ && pid_ == 0) pid_ = read_pid(directory_.lock()).value_or(0);
  if (is_ours()) ::kill(pid_, SIGTERM);
}

void WorkerProcess::kill() {
  if (!is_ours()) return;
  // Its whole session; a worker that was started by hand may lead none.
  if (::getpgid(pid_) != pid_ || ::kill(-pid_, SIGKILL) != 0) ::kill(pid_, SIGKILL);
}

}  // namespace tristill::jobs
