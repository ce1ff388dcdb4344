// Worker: runs the one job of a directory, from job.json to the result event. The only place in
// train/ that catches: whatever ends the work becomes a result event and an exit code.
#pragma once

#include <filesystem>

namespace tristill::train {

// Holds worker.lock for life, and first removes what killed workers left half-written. SIGTERM,
// SIGINT and SIGUSR1 ask for a checkpoint and exit code 75. As another rank than 0
// (train/distributed/rank_place.h) it holds no lock and writes nothing.
int run_worker(const std::filesystem::path& directory);

}  // namespace tristill::train
