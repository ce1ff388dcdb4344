// Jobs and their events as OpenAI's fine-tuning objects, in JSON text. Pure; any thread.
#pragma once

#include <string>
#include <vector>

#include "server/jobs/store.h"

namespace tristill::jobs {

// A job with the newest numbers of its worker.
struct JobView {
  Job job;
  JobNumbers numbers;
};

std::string job_json(const JobView& view);
// {"object": "list", "data": [...], "has_more": ...}
std::string job_list_json(const std::vector<JobView>& jobs, bool has_more);

std::string event_json(const StoredEvent& event);
std::string event_list_json(const std::vector<StoredEvent>& events, bool has_more);

// "ftevent-17": what Last-Event-ID and after take.
std::string event_name(int64_t id);
// The number in it. Errors: invalid_argument, param as given.
Result<int64_t> parse_event_name(std::string_view name, const std::string& param);

}  // namespace tristill::jobs
