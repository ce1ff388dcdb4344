// tristill-worker JOB_DIRECTORY: runs the job that job.json there describes; --sizes prints what
// architectures weigh.
#include <cstdio>
#include <filesystem>
#include <string_view>
#include <vector>

#include "base/exit_code.h"
#include "train/job/model_sizes.h"
#include "train/process.h"
#include "train/worker.h"

namespace {

int print_sizes(const std::vector<std::filesystem::path>& files) {
  const auto table = tristill::job::table_of_sizes(files);
  if (!table) {
    std::fprintf(stderr, "tristill-worker: %s\n", table.error().message.c_str());
    return tristill::exit_code(table.error().code);
  }
  std::fputs(table->c_str(), stdout);
  return tristill::kExitOk;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view argument = argc == 2 ? argv[1] : "";
  if (argument == "--version") {
    std::puts("tristill-worker " TRISTILL_VERSION);
    return tristill::kExitOk;
  }
  if (argc > 2 && std::string_view(argv[1]) == "--sizes")
    return print_sizes({argv + 2, argv + argc});
  if (argument.empty() || argument.front() == '-') {
    std::fputs(
        "usage: tristill-worker JOB_DIRECTORY\n"
        "       tristill-worker --sizes MODEL.json...\n"
        "Runs the job described by JOB_DIRECTORY/job.json; resumes from its newest checkpoint.\n"
        "--sizes: parameters and bytes of architectures, as in configs/models.\n"
        "Exit codes: 0 done, 64 wrong job, 65 corrupt data, 70 defect, 71 out of memory or disk,\n"
        "73 another worker holds the directory, 75 stopped by SIGTERM after a checkpoint.\n",
        argument == "--help" ? stdout : stderr);
    return argument == "--help" ? tristill::kExitOk : tristill::kExitUsage;
  }
  tristill::train::ensure_environment(argv);
  return tristill::train::run_worker(argument);
}
