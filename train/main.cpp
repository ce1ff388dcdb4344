// tristill-worker JOB_DIRECTORY: runs the job that job.json there describes.
#include <cstdio>
#include <string_view>

#include "base/exit_code.h"
#include "train/process.h"
#include "train/worker.h"

int main(int argc, char** argv) {
  const std::string_view argument = argc == 2 ? argv[1] : "";
  if (argument == "--version") {
    std::puts("tristill-worker " TRISTILL_VERSION);
    return tristill::kExitOk;
  }
  if (argument.empty() || argument.front() == '-') {
    std::fputs(
        "usage: tristill-worker JOB_DIRECTORY\n"
        "Runs the job described by JOB_DIRECTORY/job.json; resumes from its newest checkpoint.\n"
        "Exit codes: 0 done, 64 wrong job, 65 corrupt data, 70 defect, 71 out of memory or disk,\n"
        "73 another worker holds the directory, 75 stopped by SIGTERM after a checkpoint.\n",
        argument == "--help" ? stdout : stderr);
    return argument == "--help" ? tristill::kExitOk : tristill::kExitUsage;
  }
  tristill::train::ensure_environment(argv);
  return tristill::train::run_worker(argument);
}
