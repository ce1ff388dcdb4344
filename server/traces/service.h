// TraceService: named sets of teacher answers below DATA/traces, and their HTTP routes.
// Any thread; uploads to one set wait for each other. Not the shard format (train/trace).
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "server/http/router.h"

namespace tristill::traces {

struct TraceServiceOptions {
  std::filesystem::path data_dir;  // sets are DATA/traces/NAME/00000.shard
  // Whether a job that has not ended reads the set: it is then not deleted. May be empty.
  std::function<bool(const std::string& name)> in_use;
};

struct TraceCounts {
  uint64_t sets = 0;
  uint64_t accepted_records = 0;  // since the start of this process
  uint64_t refused_uploads = 0;
};

class TraceService {
 public:
  // Creates DATA/traces. Errors: unavailable, resource_exhausted.
  static Result<std::unique_ptr<TraceService>> open(TraceServiceOptions options);
  ~TraceService();
  TraceService(const TraceService&) = delete;
  TraceService& operator=(const TraceService&) = delete;

  // /traces and /traces/{name}.
  void add_routes(http::Router& router);

  // The shard file of a set that exists.
  std::optional<std::filesystem::path> shard_path(const std::string& name) const;

  TraceCounts counts() const;

 private:
  struct Parts;
  explicit TraceService(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace tristill::traces
