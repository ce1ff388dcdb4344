#include "train/job/data_manifest.h"

#include <nlohmann/json.hpp>

namespace tristill::job {
namespace {

const char* to_string(ManifestLine::Split split) {
  switch (split) {
    case ManifestLine::Split::train: return "train";
    case ManifestLine::Split::held_out: return "held_out";
    case ManifestLine::Split::mixed: return "mixed";
    case ManifestLine::Split::skipped: return "skipped";
  }
  return "";
}

}  // namespace

std::string format_manifest_line(const ManifestLine& line) {
  // Ordered, so that people and diff see the path first.
  nlohmann::ordered_json out = {{"corpus", line.corpus}, {"path", line.path}};
  if (!line.sha256.empty()) out["sha256"] = line.sha256;
  out["bytes"] = line.bytes;
  if (!line.license.empty()) out["license"] = line.license;
  out["split"] = to_string(line.split);
  if (!line.reason.empty()) out["reason"] = line.reason;
  const std::pair<const char*, uint64_t> counts[] = {{"train_samples", line.train_samples},
                                                     {"held_out_samples", line.held_out_samples},
                                                     {"duplicates", line.duplicates},
                                                     {"near_duplicates", line.near_duplicates}};
  for (const auto& [name, count] : counts) {
    if (count > 0) out[name] = count;
  }
  // A file's name may be any bytes.
  return out.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace tristill::job
