#include "train/distributed/rank_place.h"

#include <charconv>
#include <cstring>
#include <string_view>

namespace tristill::train {
namespace {

constexpr int kMaxRanks = 1024;
constexpr int64_t kFirstJobPort = 20000;
constexpr int64_t kJobPorts = 10000;

// The names under which a launcher tells.
struct Launcher {
  const char* rank;
  const char* size;
  const char* local_rank;
};
constexpr Launcher kLaunchers[] = {
    {"RANK", "WORLD_SIZE", "LOCAL_RANK"},
    {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"},
    {"SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"},
};

std::string text_of(const Environment& environment, const char* name) {
  const char* value = environment(name);
  return value == nullptr ? "" : value;
}

Result<int64_t> number_of(const Environment& environment, const char* name, int64_t low,
                          int64_t high, int64_t otherwise) {
  const std::string text = text_of(environment, name);
  if (text.empty()) return otherwise;
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size() || number < low || number > high) {
    return Error{ErrorCode::invalid_argument,
                 std::string(name) + " is '" + text + "' in the environment; accepted is " +
                     std::to_string(low) + " to " + std::to_string(high),
                 name};
  }
  return number;
}

// Where the ranks meet.
Result<void> read_meeting(const Environment& environment, RankPlace& place) {
  const auto job = number_of(environment, "SLURM_JOB_ID", 0, INT64_MAX, -1);
  if (!job) return job.error();
  if (*job >= 0) place.port = static_cast<uint16_t>(kFirstJobPort + *job % kJobPorts);
  if (const std::string nodes = text_of(environment, "SLURM_STEP_NODELIST"); !nodes.empty()) {
    place.address = first_host(nodes);
  }
  if (const std::string address = text_of(environment, "MASTER_ADDR"); !address.empty()) {
    place.address = address;
  }
  const auto port = number_of(environment, "MASTER_PORT", 1, UINT16_MAX, place.port);
  if (!port) return port.error();
  place.port = static_cast<uint16_t>(*port);
  place.is_store_served = text_of(environment, "TORCHELASTIC_USE_AGENT_STORE") == "True";
  if (const std::string attempt = text_of(environment, "TORCHELASTIC_RESTART_COUNT");
      !attempt.empty()) {
    place.attempt = attempt;
  }
  return {};
}

}  // namespace

std::string first_host(const std::string& node_list) {
  std::string host;
  for (size_t i = 0; i < node_list.size() && node_list[i] != ','; ++i) {
    if (node_list[i] != '[') {
      host += node_list[i];
      continue;
    }
    const size_t close = std::min(node_list.find(']', i), node_list.size());
    const size_t end = std::min(node_list.find_first_of(",-]", i), close);
    host += node_list.substr(i + 1, end - i - 1);
    i = close;
  }
  return host;
}

Result<RankPlace> rank_place(const Environment& environment) {
  for (const Launcher& launcher : kLaunchers) {
    if (environment(launcher.rank) == nullptr || environment(launcher.size) == nullptr) continue;
    RankPlace place;
    const auto size = number_of(environment, launcher.size, 1, kMaxRanks, 1);
    if (!size) return size.error();
    const auto rank = number_of(environment, launcher.rank, 0, *size - 1, 0);
    if (!rank) return rank.error();
    const auto local = number_of(environment, launcher.local_rank, 0, *rank, 0);
    if (!local) return local.error();
    const auto parent = number_of(environment, kRankParent, 1, INT32_MAX, 0);
    if (!parent) return parent.error();
    place.size = static_cast<int>(*size);
    place.rank = static_cast<int>(*rank);
    place.local_rank = static_cast<int>(*local);
    place.parent = static_cast<int>(*parent);
    place.store_file = text_of(environment, kRankStore);
    if (auto meets = read_meeting(environment, place); !meets) return meets.error();
    return place;
  }
  return RankPlace{};
}

}  // namespace tristill::train
