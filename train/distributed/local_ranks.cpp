#include "train/distributed/local_ranks.h"

#include <poll.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <system_error>

#include "base/exec_list.h"
#include "base/exit_code.h"

extern char** environ;

namespace tristill::train {
namespace {

constexpr std::chrono::milliseconds kMoment{2000};

constexpr std::array kOwnVariables = {"RANK",        "WORLD_SIZE", "LOCAL_RANK",
                                      "MASTER_ADDR", kRankStore,   kRankParent};

// This environment with the variables of a rank in place of its own.
std::vector<std::string> environment_of(const RankPlace& place, int rank) {
  std::vector<std::string> variables;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    const std::string name = text.substr(0, text.find('='));
    if (std::ranges::find(kOwnVariables, name) == kOwnVariables.end()) variables.push_back(text);
  }
  const std::string number = std::to_string(rank);
  variables.push_back("RANK=" + number);
  variables.push_back("LOCAL_RANK=" + number);
  variables.push_back("WORLD_SIZE=" + std::to_string(place.size));
  variables.push_back("MASTER_ADDR=" + place.address);
  variables.push_back(std::string(kRankStore) + "=" + place.store_file);
  variables.push_back(std::string(kRankParent) + "=" + std::to_string(::getpid()));
  return variables;
}

}  // namespace

LocalRanks::LocalRanks(const std::filesystem::path& directory, int size) {
  place_.size = size;
  place_.store_file = (directory / ("ranks." + std::to_string(::getpid()))).string();
  std::filesystem::remove(place_.store_file);  // of an earlier process with this id
  for (int rank = 1; rank < size; ++rank) {
    std::vector<std::string> arguments = {"tristill-worker", directory.string()};
    std::vector<std::string> variables = environment_of(place_, rank);
    Child child{.rank = rank};
    const int error = ::posix_spawn(&child.pid, "/proc/self/exe", nullptr, nullptr,
                                    exec_list(arguments).data(), exec_list(variables).data());
    if (error != 0) throw std::system_error(error, std::generic_category(), "cannot start a rank");
    children_.push_back(child);
  }
}

bool LocalRanks::await_one(std::chrono::milliseconds wait) {
  std::vector<pollfd> ends;
  for (const Child& child : children_) {
    // glibc 2.36 declares pidfd_open without extern "C".
    const auto fd = child.ended ? -1 : static_cast<int>(::syscall(SYS_pidfd_open, child.pid, 0));
    if (fd >= 0) ends.push_back({fd, POLLIN, 0});
  }
  if (ends.empty()) return false;
  ::poll(ends.data(), ends.size(), static_cast<int>(wait.count()));
  for (const pollfd& end : ends) ::close(end.fd);
  bool found = false;
  for (Child& child : children_) {
    if (child.ended || ::waitpid(child.pid, &child.status, WNOHANG) != child.pid) continue;
    child.ended = found = true;
  }
  return found;
}

std::string LocalRanks::casualty() {
  // A rank that lost another ends with "unavailable": the one that is to blame ended otherwise.
  const auto guilty = [](const Child& child) {
    return child.ended && child.status != 0 &&
           !(WIFEXITED(child.status) && WEXITSTATUS(child.status) == kExitUnavailable);
  };
  do {
    const auto found = std::ranges::find_if(children_, guilty);
    if (found == children_.end()) continue;
    const std::string who = "rank " + std::to_string(found->rank);
    if (WIFSIGNALED(found->status)) {
      const int signal = WTERMSIG(found->status);
      return who + " was killed by signal " + std::to_string(signal) +
             (signal == SIGKILL ? ", as when memory runs out; lower ranks or batch_tokens" : "");
    }
    return who + " ended with status " + std::to_string(WEXITSTATUS(found->status)) +
           "; the worker's log has its reason";
  } while (await_one(kMoment));
  return {};
}

LocalRanks::~LocalRanks() {
  while (await_one(kMoment)) {}
  for (Child& child : children_) {
    if (child.ended) continue;
    ::kill(child.pid, SIGKILL);
    ::waitpid(child.pid, &child.status, 0);
  }
  std::error_code ignored;
  std::filesystem::remove(place_.store_file, ignored);
}

void end_with_parent(const RankPlace& place) {
  if (place.parent == 0) return;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != place.parent) ::_exit(kExitUnavailable);
}

}  // namespace tristill::train
