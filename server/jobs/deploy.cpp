#include "server/jobs/deploy.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "base/atomic_file.h"

namespace tristill::jobs {
namespace {

namespace fs = std::filesystem;

Error storage_error(const std::string& what, const std::error_code& reason) {
  const bool full = reason == std::errc::no_space_on_device;
  return {full ? ErrorCode::resource_exhausted : ErrorCode::unavailable,
          what + ": " + reason.message(), ""};
}

// A second name for the same bytes; a copy where the file system has no such names.
Result<void> duplicate(const fs::path& from, const fs::path& to) {
  std::error_code error;
  fs::remove(to, error);
  fs::create_hard_link(from, to, error);
  if (error) fs::copy_file(from, to, fs::copy_options::overwrite_existing, error);
  if (error) return storage_error("cannot copy " + from.string() + " to " + to.string(), error);
  const int fd = ::open(to.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    return storage_error("cannot open " + to.string(), {errno, std::generic_category()});
  }
  auto synced = sync_file(fd, to);
  ::close(fd);
  return synced;
}

}  // namespace

Result<void> deploy_model(const fs::path& artifact, const fs::path& models_dir,
                          const std::string& name, const PublishModel& publish) {
  std::error_code error;
  if (!fs::is_regular_file(artifact, error)) {
    return Error{ErrorCode::not_found, "the worker left no model file " + artifact.string(), ""};
  }
  fs::create_directories(models_dir, error);
  if (error) return storage_error("cannot create " + models_dir.string(), error);
  const fs::path target = models_dir / (name + ".gguf");
  const fs::path fresh = models_dir / ("." + name + ".new");
  const fs::path former = models_dir / ("." + name + ".old");
  if (auto done = duplicate(artifact, fresh); !done) return done;
  const bool replaces = fs::exists(target, error);
  if (replaces) {
    if (auto done = duplicate(target, former); !done) return done;
  }
  if (auto done = rename_durably(fresh, target); !done) return done;
  fs::remove(fresh, error);  // still there when both names were of one file
  auto published = publish(name, target);
  if (published) {
    fs::remove(former, error);
    return published;
  }
  if (replaces) {
    if (auto undone = rename_durably(former, target); !undone) return undone;
  } else {
    fs::remove(target, error);
  }
  return published;
}

}  // namespace tristill::jobs
