// Which of how many processes of one run this is, and where they meet, from the environment that
// a launcher gives each. Pure; any thread. Not for connecting (rank_group.h) nor for starting
// processes (local_ranks.h).
//
//   torchrun, Kubernetes  RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT
//   mpirun (Open MPI)     OMPI_COMM_WORLD_RANK, OMPI_COMM_WORLD_SIZE, OMPI_COMM_WORLD_LOCAL_RANK
//   srun                  SLURM_PROCID, SLURM_STEP_NUM_TASKS, SLURM_LOCALID, SLURM_STEP_NODELIST
//
// The first that is there counts. mpirun and srun need no MASTER_ADDR and MASTER_PORT: without,
// ranks meet on this machine or on the step's first node, at a port made from the job's id.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/result.h"

namespace tristill::train {

struct RankPlace {
  int rank = 0;
  int size = 1;
  int local_rank = 0;  // on its machine: which GPU is its own
  std::string address = "127.0.0.1";  // of rank 0's machine
  uint16_t port = 29500;
  bool is_store_served = false;  // by the launcher (torchrun's agent), else by rank 0
  std::string attempt = "0";  // of the launcher: a restart does not meet the one before
  std::string store_file;  // ranks of one machine that rank 0 started meet in a file instead
  int parent = 0;  // pid of the rank 0 that started this process; 0: a launcher did

  bool operator==(const RankPlace&) const = default;
};

// The value of a variable, or nullptr: std::getenv.
using Environment = std::function<const char*(const char*)>;

// Without any of those variables: alone. Errors: invalid_argument naming the variable.
Result<RankPlace> rank_place(const Environment& environment);

// The first host of a SLURM list: "gpu[003-006,9],login1" -> "gpu003".
std::string first_host(const std::string& node_list);

// What rank 0 gives the ranks it starts on its machine.
constexpr const char* kRankStore = "TRISTILL_RANK_STORE";    // RankPlace::store_file
constexpr const char* kRankParent = "TRISTILL_RANK_PARENT";  // RankPlace::parent

}  // namespace tristill::train
