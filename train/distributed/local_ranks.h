// LocalRanks: the other ranks of a run on this machine, processes of this same program that rank 0
// starts when a job asks for ranks and no launcher gave any. They meet in a file of the job's
// directory, so no port is open to others than this machine. None outlives rank 0: the kernel kills
// them when it ends, however it ends. Rank 0's main thread only.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

#include "train/distributed/rank_place.h"

namespace tristill::train {

class LocalRanks {
 public:
  // Starts ranks 1 to size - 1 with the job's directory as argument. Throws std::system_error.
  LocalRanks(const std::filesystem::path& directory, int size);
  // Gives them a moment to end by themselves, then ends them.
  ~LocalRanks();
  LocalRanks(const LocalRanks&) = delete;
  LocalRanks& operator=(const LocalRanks&) = delete;

  const RankPlace& place() const { return place_; }

  // How the first that ended badly ended, "rank 1 was killed by signal 9"; empty when none does
  // within a moment.
  std::string casualty();

 private:
  struct Child {
    pid_t pid = -1;
    int rank = 0;
    bool ended = false;
    int status = 0;  // of waitpid
  };
  // Until one more has ended or time is up; false when none did.
  bool await_one(std::chrono::milliseconds wait);

  RankPlace place_;
  std::vector<Child> children_;
};

// On a rank that rank 0 started: asks the kernel to end this process with that one, and ends at
// once when it is gone already.
void end_with_parent(const RankPlace& place);

}  // namespace tristill::train
