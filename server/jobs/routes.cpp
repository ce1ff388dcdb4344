#include "server/jobs/routes.h"

#include <algorithm>
#include <charconv>
#include <utility>
#include <vector>

#include "base/atomic_file.h"
#include "base/sha256.h"
#include "server/http/error.h"
#include "server/jobs/job_json.h"
#include "train/job/checkpoint_folders.h"
#include "train/job/health_file.h"
#include "train/job/job_spec.h"

namespace tristill::jobs {
namespace {

using http::Request;
using http::Response;
using job::JobState;

constexpr size_t kDefaultLimit = 20;
constexpr size_t kMaxLimit = 1000;
constexpr size_t kMaxKeyBytes = 255;
constexpr size_t kMaxHealthBytes = size_t{16} << 20;

std::string value_of(const std::map<std::string, std::string>& values, const std::string& name) {
  const auto found = values.find(name);
  return found == values.end() ? std::string() : found->second;
}

Response refusal(const Error& error) {
  Response response = http::error_response(error);
  // SDKs would try a 409 again by themselves; it would only say the same.
  if (error.code == ErrorCode::conflict) response.headers["x-should-retry"] = "false";
  if (error.code == ErrorCode::resource_exhausted) response.headers["Retry-After"] = "30";
  return response;
}

Response store_refusal(const Error& error) {
  if (error.code == ErrorCode::resource_exhausted) {
    return http::error_response(507, "server_error",
                                "the data directory's disk is full, nothing was stored (" +
                                    error.message + "); free some space and try again",
                                "", "storage_full");
  }
  return http::error_response(error);
}

Response json_response(std::string body) {
  Response response;
  response.body = std::move(body);
  return response;
}

Result<size_t> parse_limit(const Request& request) {
  const std::string text = value_of(request.query, "limit");
  if (text.empty()) return kDefaultLimit;
  size_t limit = 0;
  const char* end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, limit);
  if (parsed.ec != std::errc{} || parsed.ptr != end || limit > kMaxLimit) {
    return Error{ErrorCode::invalid_argument,
                 "limit is \"" + text.substr(0, 64) + "\"; accepted is an integer from 0 to " +
                     std::to_string(kMaxLimit),
                 "limit"};
  }
  return limit;
}

Result<bool> wants_stream(const Request& request) {
  const std::string text = value_of(request.query, "stream");
  if (text == "true" || text == "1") return true;
  if (text == "false" || text == "0") return false;
  if (text.empty()) {
    return value_of(request.headers, "accept").find("text/event-stream") != std::string::npos;
  }
  return Error{ErrorCode::invalid_argument,
               "stream is \"" + text.substr(0, 64) + "\"; accepted are true and false", "stream"};
}

Result<std::optional<std::string>> idempotency_key(const Request& request) {
  const auto found = request.headers.find("idempotency-key");
  if (found == request.headers.end()) return std::optional<std::string>{};
  const std::string& key = found->second;
  const bool printable = std::ranges::all_of(key, [](char c) { return c > 0x20 && c < 0x7f; });
  if (key.empty() || key.size() > kMaxKeyBytes || !printable) {
    return Error{ErrorCode::invalid_argument,
                 "Idempotency-Key is not valid; accepted are 1 to " + std::to_string(kMaxKeyBytes) +
                     " printable ASCII characters without spaces",
                 "Idempotency-Key"};
  }
  return std::optional<std::string>(key);
}

// The newest health.json that is whole; those of other versions lack some of its fields.
Result<std::string> newest_health(const job::JobDirectory& directory, const std::string& id) {
  for (const auto& checkpoint : job::list_checkpoints(directory.checkpoints())) {
    auto text = read_file(checkpoint / job::kHealthFileName, kMaxHealthBytes);
    if (text && job::read_healthy(*text)) return text;
  }
  return Error{ErrorCode::not_found,
               "job " + id +
                   " has no checkpoint that says how it is; a train job writes one before its "
                   "first step or within checkpoint_seconds, other kinds write none",
               ""};
}

// Where a request's work ends when the store fails it.
http::Handler guarded(http::Handler handler) {
  return [handler = std::move(handler)](const Request& request) {
    try {
      return handler(request);
    } catch (const DatabaseError& failure) {
      return store_refusal(failure.error());
    }
  };
}

}  // namespace

void JobRoutes::add_to(http::Router& router) {
  const auto add = [&](const char* method, const char* pattern,
                       Response (JobRoutes::*handler)(const Request&)) {
    router.add(method, pattern,
               guarded([this, handler](const Request& r) { return (this->*handler)(r); }));
  };
  add("POST", "/jobs", &JobRoutes::create);
  add("GET", "/jobs", &JobRoutes::list);
  add("GET", "/jobs/{id}", &JobRoutes::show);
  add("GET", "/jobs/{id}/events", &JobRoutes::events);
  add("GET", "/jobs/{id}/health", &JobRoutes::health);
  add("POST", "/jobs/{id}/cancel", &JobRoutes::cancel);
  add("POST", "/jobs/{id}/resume", &JobRoutes::resume);
}

Response JobRoutes::answer(const Result<Job>& job) {
  if (!job) return refusal(job.error());
  return json_response(job_json({*job, parts_.store.numbers(job->id)}));
}

Response JobRoutes::create(const Request& request) {
  if (parts_.closing) {
    return refusal({ErrorCode::unavailable, "the daemon is stopping; try again soon", ""});
  }
  const auto job = accept(request);
  if (job) {
    parts_.supervisor.wake();
    parts_.news.ring();
  }
  return answer(job);
}

Result<Job> JobRoutes::accept(const Request& request) {
  auto key = idempotency_key(request);
  if (!key) return key.error();
  const std::string digest = to_hex(sha256(request.body));
  if (*key) {
    auto known = parts_.store.find_key(**key, digest);
    if (!known) return known.error();
    if (*known) return **known;
  }
  auto spec = job::parse_job_spec(request.body);
  if (!spec) return spec.error();
  if (auto ok = job::check_idle(*spec); !ok) return ok.error();
  if (auto inputs = resolve_inputs("", *spec, parts_.inputs); !inputs) return inputs.error();
  return parts_.store.add({.name = name_of(*spec),
                           .spec = job::format_job_spec(*spec),
                           .idempotency_key = *key,
                           .body_digest = digest},
                          parts_.max_waiting);
}

Response JobRoutes::list(const Request& request) {
  const auto limit = parse_limit(request);
  if (!limit) return refusal(limit.error());
  auto jobs = parts_.store.list(value_of(request.query, "after"), *limit + 1);
  if (!jobs) return refusal(jobs.error());
  const bool has_more = jobs->size() > *limit;
  if (has_more) jobs->resize(*limit);
  std::vector<JobView> views;
  for (Job& job : *jobs) {
    auto numbers = parts_.store.numbers(job.id);
    views.push_back({std::move(job), std::move(numbers)});
  }
  return json_response(job_list_json(views, has_more));
}

Result<Job> JobRoutes::wanted_job(const Request& request) {
  const std::string id = value_of(request.path_params, "id");
  auto job = parts_.store.find(id);
  if (job) return *job;
  return Error{ErrorCode::not_found,
               "no job has the id \"" + id.substr(0, 64) + "\"; GET /jobs lists the jobs", "id"};
}

Response JobRoutes::show(const Request& request) { return answer(wanted_job(request)); }

Response JobRoutes::health(const Request& request) {
  const auto job = wanted_job(request);
  if (!job) return refusal(job.error());
  auto found = newest_health(parts_.supervisor.directory(job->id), job->id);
  if (!found) return refusal(found.error());
  return json_response(std::move(*found));
}

Response JobRoutes::events(const Request& request) {
  const auto job = wanted_job(request);
  if (!job) return refusal(job.error());
  const auto stream = wants_stream(request);
  if (!stream) return refusal(stream.error());
  int64_t after = 0;
  const std::string last = *stream ? value_of(request.headers, "last-event-id") : std::string();
  const std::string from = last.empty() ? value_of(request.query, "after") : last;
  if (!from.empty()) {
    const auto id = parse_event_name(from, last.empty() ? "after" : "Last-Event-ID");
    if (!id) return refusal(id.error());
    after = *id;
  }
  if (*stream) {
    Response response;
    response.content_type = "text/event-stream";
    response.headers = {{"Cache-Control", "no-cache"}, {"X-Accel-Buffering", "no"}};
    response.stream = [this, id = job->id, after](http::StreamWriter& out) {
      EventStream{parts_.store, parts_.news, parts_.closing, parts_.heartbeat}.run(id, after, out);
    };
    return response;
  }
  const auto limit = parse_limit(request);
  if (!limit) return refusal(limit.error());
  auto found = parts_.store.events(job->id, after, *limit + 1);
  const bool has_more = found.size() > *limit;
  if (has_more) found.resize(*limit);
  return json_response(event_list_json(found, has_more));
}

Response JobRoutes::cancel(const Request& request) {
  const auto job = wanted_job(request);
  if (!job) return refusal(job.error());
  const auto cancelled = cancel_job(job->id);
  parts_.supervisor.wake();
  parts_.news.ring();
  return answer(cancelled);
}

Result<Job> JobRoutes::cancel_job(const std::string& id) {
  for (;;) {
    const auto job = parts_.store.find(id);
    CHECK(job.has_value());
    const auto next = after_cancel(job->state);
    if (!next) {
      return Error{ErrorCode::conflict,
                   "job " + id + " has already " +
                       (job->state == JobState::cancelled ? "been " : "") +
                       std::string(to_string(job->state)) +
                       "; only a job that has not ended can be "
                       "cancelled",
                   ""};
    }
    if (*next == job->state) return *job;
    auto changed = parts_.store.change(
        id, {.to = *next,
             .message = *next == JobState::cancelled ? "Job cancelled"
                                                     : "Job is asked to stop after a checkpoint",
             .failure = {},
             .fine_tuned_model = {},
             .failures = {}});
    // Refused only when the supervisor moved the job in between: look again.
    if (changed) return changed;
  }
}

Response JobRoutes::resume(const Request& request) {
  const auto job = wanted_job(request);
  if (!job) return refusal(job.error());
  const auto resumed = resume_job(*job);
  parts_.supervisor.wake();
  parts_.news.ring();
  return answer(resumed);
}

Result<Job> JobRoutes::resume_job(const Job& job) {
  const auto next = after_resume(job.state);
  if (!next) {
    return Error{ErrorCode::conflict,
                 "job " + job.id + " is " + std::string(to_string(job.state)) +
                     "; only a failed, cancelled or paused job can be resumed",
                 ""};
  }
  if (job::list_checkpoints(parts_.supervisor.directory(job.id).checkpoints()).empty()) {
    return Error{
        ErrorCode::conflict,
        "job " + job.id + " has no checkpoint to go on from; create it again with POST /jobs", ""};
  }
  return parts_.store.change(job.id, {.to = *next,
                                      .message = "Job queued again",
                                      .failure = {},
                                      .fine_tuned_model = {},
                                      .failures = 0});
}

}  // namespace tristill::jobs
