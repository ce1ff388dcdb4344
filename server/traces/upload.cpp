#include "server/traces/upload.h"

#include <utility>

#include "base/name.h"
#include "train/trace/jsonl.h"

namespace tristill::traces {

Result<void> check_set_name(std::string_view name) {
  if (is_name(name)) return {};
  return Error{ErrorCode::invalid_argument,
               "name is \"" + std::string(name.substr(0, 64)) + "\"; accepted are " +
                   std::string(kAcceptedNames),
               "name"};
}

Result<std::vector<trace::Record>> parse_upload(std::string_view body) {
  std::vector<trace::Record> records;
  size_t n_lines = 0;
  while (!body.empty()) {
    ++n_lines;
    const size_t end = body.find('\n');
    const auto line = body.substr(0, end);
    body.remove_prefix(end == std::string_view::npos ? body.size() : end + 1);
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    auto record = trace::parse_record(line);
    if (!record) {
      const std::string where = "line " + std::to_string(n_lines);
      const std::string& field = record.error().param;
      return Error{ErrorCode::invalid_argument, where + ": " + record.error().message,
                   field.empty() ? where : where + ": " + field};
    }
    records.push_back(std::move(*record));
  }
  if (records.empty()) {
    return Error{ErrorCode::invalid_argument,
                 "the body holds no record; accepted are JSON Lines, one trace record a line", ""};
  }
  return records;
}

}  // namespace tristill::traces
