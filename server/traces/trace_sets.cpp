#include "server/traces/trace_sets.h"

#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <system_error>
#include <utility>

#include "base/atomic_file.h"
#include "base/log.h"
#include "base/name.h"
#include "train/trace/shard.h"

namespace tristill::traces {
namespace {

namespace fs = std::filesystem;

constexpr const char* kShardFile = "00000.shard";

Error no_such_set(const std::string& name) {
  return {ErrorCode::not_found,
          "no trace set is called \"" + name.substr(0, 64) + "\"; GET /traces lists the sets",
          "name"};
}

Error storage_error(const std::string& what, const std::error_code& reason) {
  const bool full = reason == std::errc::no_space_on_device;
  return {full ? ErrorCode::resource_exhausted : ErrorCode::unavailable,
          what + ": " + reason.message(), ""};
}

// A folder's content changes only when its shard is made: its time is the set's birth.
int64_t birth_of(const fs::path& folder) {
  struct stat status{};
  return ::stat(folder.c_str(), &status) == 0 ? static_cast<int64_t>(status.st_mtime) : 0;
}

uint64_t size_of(const fs::path& file) {
  std::error_code error;
  const auto size = fs::file_size(file, error);
  return error ? 0 : size;
}

Result<void> check_one_tokenizer(const std::string& name, const std::string& known,
                                 std::span<const trace::Record> records) {
  for (size_t i = 0; i < records.size(); ++i) {
    if (records[i].tokenizer == known) continue;
    return Error{ErrorCode::conflict,
                 "record " + std::to_string(i + 1) + " is of tokenizer " + records[i].tokenizer +
                     ", but set \"" + name + "\" is of " + known +
                     "; all records of a set share one tokenizer: use another name",
                 "tokenizer"};
  }
  return {};
}

void count(TraceSet& set, std::span<const trace::Record> records) {
  for (const trace::Record& record : records) {
    set.records += 1;
    set.tokens += record.tokens.size();
    set.scored_tokens += static_cast<uint64_t>(std::ranges::count_if(
        record.top_logprobs, [](const auto& candidates) { return !candidates.empty(); }));
  }
}

}  // namespace

fs::path TraceSets::shard(const std::string& name) const { return root_ / name / kShardFile; }

std::optional<fs::path> TraceSets::shard_path(const std::string& name) const {
  std::error_code error;
  if (!is_name(name) || !fs::is_regular_file(shard(name), error)) return std::nullopt;
  return shard(name);
}

std::shared_ptr<TraceSets::Entry> TraceSets::entry(const std::string& name) {
  const std::lock_guard lock(mutex_);
  auto& entry = entries_[name];
  if (!entry) entry = std::make_shared<Entry>();
  return entry;
}

Result<TraceSet> TraceSets::scan(const std::string& name, Entry& entry) const {
  if (entry.known) return *entry.known;
  if (entry.damage) return *entry.damage;
  TraceSet set;
  set.name = name;
  auto summary = trace::read_shard(shard(name), [&](trace::Record&& record) {
    if (set.tokenizer.empty()) set.tokenizer = std::move(record.tokenizer);
  });
  if (!summary) return summary.error();
  if (summary->damaged_at) {
    entry.damage = trace::damaged_shard(shard(name), *summary->damaged_at);
    log_warn("trace set is damaged", {{"set", name}, {"reason", entry.damage->message}});
    return *entry.damage;
  }
  set.records = summary->records;
  set.tokens = summary->tokens;
  set.scored_tokens = summary->scored_tokens;
  set.bytes = size_of(shard(name));
  set.created_at = birth_of(root_ / name);
  entry.known = set;
  return set;
}

// Made beside and renamed, so that a set which has a name is whole whatever happens.
Result<void> TraceSets::create(const std::string& name,
                               std::span<const trace::Record> records) const {
  const fs::path fresh = root_ / (".new-" + name);
  std::error_code error;
  fs::remove_all(fresh, error);
  fs::create_directory(fresh, error);
  if (error) return storage_error("cannot create " + fresh.string(), error);
  auto done = trace::append_records(fresh / kShardFile, records);
  if (done) done = rename_durably(fresh, root_ / name);
  if (!done) fs::remove_all(fresh, error);
  return done;
}

Result<TraceSet> TraceSets::append(const std::string& name,
                                   std::span<const trace::Record> records) {
  CHECK(!records.empty());
  CHECK(is_name(name));
  const auto set_entry = entry(name);
  const std::lock_guard lock(set_entry->mutex);
  TraceSet set;
  set.name = name;
  set.tokenizer = records.front().tokenizer;
  const bool exists = shard_path(name).has_value();
  if (exists) {
    auto known = scan(name, *set_entry);
    if (!known) return known.error();
    set = *known;
    if (set.records == 0) set.tokenizer = records.front().tokenizer;
  }
  if (auto same = check_one_tokenizer(name, set.tokenizer, records); !same) return same.error();
  // Known again only when the append is: a failed one may have cut a torn tail off.
  set_entry->known.reset();
  auto done = exists ? trace::append_records(shard(name), records) : create(name, records);
  if (!done) return done.error();
  count(set, records);
  set.bytes = size_of(shard(name));
  set.created_at = birth_of(root_ / name);
  set_entry->known = set;
  return set;
}

Result<TraceSet> TraceSets::summary(const std::string& name) {
  if (!shard_path(name)) return no_such_set(name);
  const auto set_entry = entry(name);
  const std::lock_guard lock(set_entry->mutex);
  if (!shard_path(name)) return no_such_set(name);
  return scan(name, *set_entry);
}

std::vector<TraceSet> TraceSets::list() {
  std::vector<TraceSet> sets;
  std::error_code error;
  for (const auto& folder : fs::directory_iterator(root_, error)) {
    const std::string name = folder.path().filename().string();
    if (!shard_path(name)) continue;
    auto set = summary(name);
    if (set) {
      sets.push_back(std::move(*set));
    } else if (set.error().code != ErrorCode::corrupt) {  // that is told once, where it is found
      log_warn("trace set cannot be read", {{"set", name}, {"reason", set.error().message}});
    }
  }
  std::ranges::sort(sets, {}, &TraceSet::name);
  return sets;
}

Result<void> TraceSets::remove(const std::string& name) {
  if (!shard_path(name)) return no_such_set(name);
  const auto set_entry = entry(name);
  const std::lock_guard lock(set_entry->mutex);
  if (!shard_path(name)) return no_such_set(name);
  // Gone in one step; what a crash leaves of the rest has no name any more.
  const fs::path grave = root_ / (".deleted-" + name);
  std::error_code error;
  fs::remove_all(grave, error);
  if (auto moved = rename_durably(root_ / name, grave); !moved) return moved;
  set_entry->known.reset();
  set_entry->damage.reset();
  fs::remove_all(grave, error);
  if (error) log_warn("deleted traces still fill the disk", {{"folder", grave.string()}});
  return {};
}

}  // namespace tristill::traces
