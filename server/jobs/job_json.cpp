#include "server/jobs/job_json.h"

#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

#include "train/job/job_spec.h"

namespace tristill::jobs {
namespace {

using Json = nlohmann::ordered_json;
using job::JobState;

constexpr std::string_view kEventPrefix = "ftevent-";

std::string dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

int64_t seconds(double time) { return static_cast<int64_t>(time); }

Json seconds_or_null(const std::optional<double>& time) {
  return time ? Json(seconds(*time)) : Json(nullptr);
}

// Whole numbers without a fraction; what JSON cannot write is null.
Json number(double value) {
  if (!std::isfinite(value)) return nullptr;
  if (value == std::floor(value) && std::fabs(value) < 9007199254740992.0) {
    return static_cast<int64_t>(value);
  }
  return value;
}

Json number_or_null(const std::map<std::string, double>& numbers, const std::string& name) {
  const auto found = numbers.find(name);
  return found == numbers.end() ? Json(nullptr) : number(found->second);
}

Json error_of(const std::optional<JobFailure>& failure) {
  if (!failure) return nullptr;
  return {{"code", failure->code},
          {"message", failure->message},
          {"param", failure->param.empty() ? Json(nullptr) : Json(failure->param)}};
}

Json progress_of(const JobView& view) {
  const auto& metrics = view.numbers.metrics;
  if (!view.numbers.progress && metrics.empty()) return nullptr;
  const job::Event event = view.numbers.progress ? view.numbers.progress->event : job::Event{};
  const auto phase = event.texts.find("phase");
  Json step = number_or_null(event.numbers, "step");
  const Json metrics_step = number_or_null(metrics, "step");
  if (metrics_step.is_number() && (step.is_null() || metrics_step > step)) step = metrics_step;
  Json progress = {{"phase", phase == event.texts.end() ? Json(nullptr) : Json(phase->second)},
                   {"fraction", number_or_null(event.numbers, "fraction")},
                   {"step", step},
                   {"total_steps", number_or_null(event.numbers, "total_steps")},
                   {"loss", number_or_null(metrics, "loss")},
                   {"tokens_per_second", number_or_null(metrics, "tokens_per_second")},
                   {"eta_seconds", number_or_null(event.numbers, "eta_seconds")},
                   {"metrics", Json::object()}};
  for (const auto& [name, value] : metrics) progress["metrics"][name] = number(value);
  return progress;
}

Json estimated_finish(const JobView& view) {
  if (view.job.state != JobState::running || !view.numbers.progress) return nullptr;
  const job::Event& event = view.numbers.progress->event;
  // Phases before the first step tell how long they last themselves, not the job.
  if (!event.numbers.contains("step")) return nullptr;
  const auto eta = event.numbers.find("eta_seconds");
  if (eta == event.numbers.end() || !(eta->second >= 0 && eta->second < 1e12)) return nullptr;
  return seconds(event.time + eta->second);
}

Json trained_tokens(const JobView& view) { return number_or_null(view.numbers.metrics, "tokens"); }

// The field of an object that we wrote ourselves, null when it is not there.
Json field(const Json& object, const char* name) {
  return object.is_object() && object.contains(name) ? object.at(name) : Json(nullptr);
}

std::string training_file(const Json& data) {
  std::string names;
  const auto add = [&](const Json& name) {
    if (!name.is_string()) return;
    if (!names.empty()) names += ",";
    names += name.get<std::string>();
  };
  for (const Json& corpus : field(data, "corpora")) add(field(corpus, "name"));
  for (const Json& name : field(data, "traces")) add(name);
  return names;
}

Json hyperparameters(const Json& spec) {
  Json parameters = {
      {"n_epochs", "auto"}, {"batch_size", "auto"}, {"learning_rate_multiplier", "auto"}};
  const Json tokens = field(spec, "batch_tokens");
  const Json length = field(spec, "sequence_length");
  if (tokens.is_number_unsigned() && length.is_number_unsigned() && length > 0) {
    parameters["batch_size"] =
        std::max<uint64_t>(1, tokens.get<uint64_t>() / length.get<uint64_t>());
  }
  return parameters;
}

// A train job's model under its name, or the file that another kind leaves.
std::string result_file(const Job& job) {
  if (job.fine_tuned_model) return *job.fine_tuned_model + ".gguf";
  const auto spec = job::parse_job_spec(job.spec);
  return spec ? job::result_file(*spec) : std::string();
}

std::string method(const Json& spec) {
  const Json kind = field(spec, "kind");
  if (kind != "train") return kind.is_string() ? kind.get<std::string>() : std::string("unknown");
  const bool taught = !field(field(spec, "data"), "traces").empty() ||
                      !field(field(spec, "teaching"), "teachers").empty();
  return taught ? "distillation" : "supervised";
}

Json to_json(const JobView& view) {
  const Job& job = view.job;
  const Json spec = Json::parse(job.spec, nullptr, false);
  const bool done = job.state == JobState::succeeded;
  return {{"id", job.id},
          {"object", "fine_tuning.job"},
          {"kind", field(spec, "kind")},
          {"created_at", seconds(job.created_at)},
          {"started_at", seconds_or_null(job.started_at)},
          {"finished_at", seconds_or_null(job.finished_at)},
          {"estimated_finish", estimated_finish(view)},
          {"status", to_string(job.state)},
          {"error", error_of(job.failure)},
          {"model", job.name},
          {"fine_tuned_model", job.fine_tuned_model ? Json(*job.fine_tuned_model) : Json(nullptr)},
          {"organization_id", "tristill"},
          {"result_files", done ? Json::array({result_file(job)}) : Json::array()},
          {"trained_tokens", trained_tokens(view)},
          {"training_file", training_file(field(spec, "data"))},
          {"validation_file", nullptr},
          {"hyperparameters", hyperparameters(spec)},
          {"seed", field(spec, "seed").is_number() ? field(spec, "seed") : Json(0)},
          {"method", {{"type", method(spec)}}},
          {"metadata", Json::object()},
          {"progress", progress_of(view)},
          {"spec", spec.is_discarded() ? Json(nullptr) : spec}};
}

Json to_json(const StoredEvent& stored) {
  Json data = Json::object();
  for (const auto& [name, value] : stored.event.numbers) data[name] = number(value);
  for (const auto& [name, value] : stored.event.texts) data[name] = value;
  return {{"object", "fine_tuning.job.event"},
          {"id", event_name(stored.id)},
          {"created_at", seconds(stored.event.time)},
          {"level", job::to_string(stored.event.level)},
          {"message", stored.event.message},
          {"type", stored.type},
          {"data", data}};
}

template <class Items>
std::string list_json(const Items& items, bool has_more) {
  Json data = Json::array();
  for (const auto& item : items) data.push_back(to_json(item));
  return dump({{"object", "list"}, {"data", data}, {"has_more", has_more}});
}

}  // namespace

std::string job_json(const JobView& view) { return dump(to_json(view)); }

std::string job_list_json(const std::vector<JobView>& jobs, bool has_more) {
  return list_json(jobs, has_more);
}

std::string event_json(const StoredEvent& event) { return dump(to_json(event)); }

std::string event_list_json(const std::vector<StoredEvent>& events, bool has_more) {
  return list_json(events, has_more);
}

std::string event_name(int64_t id) { return std::string(kEventPrefix) + std::to_string(id); }

Result<int64_t> parse_event_name(std::string_view name, const std::string& param) {
  const auto digits = name.starts_with(kEventPrefix) ? name.substr(kEventPrefix.size()) : name;
  int64_t id = -1;
  const char* end = digits.data() + digits.size();
  const auto parsed = std::from_chars(digits.data(), end, id);
  if (digits.empty() || parsed.ec != std::errc{} || parsed.ptr != end || id < 0) {
    return Error{ErrorCode::invalid_argument,
                 param + " is \"" + std::string(name.substr(0, 64)) +
                     "\"; accepted is the id of an event, like ftevent-17",
                 param};
  }
  return id;
}

}  // namespace tristill::jobs
