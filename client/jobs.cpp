// tristill jobs: create, list, show, watch, cancel, resume.
#include <ctime>

#include "client/commands.h"
#include "client/fields.h"

namespace tristill::client {
namespace {

std::string job_path(const std::string& id) { return "/jobs/" + percent_encode(id); }

std::string progress_words(const Json& job) {
  const Json& progress = field_of(job, "progress");
  ProgressLine line;
  line.phase = text_of(progress, "phase");
  line.fraction = number_of(progress, "fraction");
  line.step = count_of(progress, "step");
  line.total_steps = count_of(progress, "total_steps");
  line.loss = number_of(progress, "loss");
  if (text_of(job, "status") == "running") {
    line.tokens_per_second = number_of(progress, "tokens_per_second");
    line.eta_seconds = number_of(progress, "eta_seconds");
  }
  return format_progress_words(line);
}

// How long the job has run, or nothing before it starts.
std::string run_time(const Json& job) {
  const int64_t started = time_of(job, "started_at");
  const int64_t finished = time_of(job, "finished_at");
  if (started == 0) return "";
  const int64_t end = finished > 0 ? finished : static_cast<int64_t>(std::time(nullptr));
  return format_duration(static_cast<double>(end - started));
}

void print_job(Output& out, const Json& job) {
  if (out.json()) {
    out.object(job);
    return;
  }
  const Json& error = field_of(job, "error");
  const std::optional<uint64_t> tokens = count_of(job, "trained_tokens");
  out.text(format_fields({
      {"id", text_of(job, "id")},
      {"status", text_of(job, "status")},
      {"model", text_of(job, "model")},
      {"served as", text_of(job, "fine_tuned_model")},
      {"progress", progress_words(job)},
      {"tokens", tokens ? format_count(static_cast<double>(*tokens)) : ""},
      {"created", format_time(time_of(job, "created_at"))},
      {"started", format_time(time_of(job, "started_at"))},
      {"finished", format_time(time_of(job, "finished_at"))},
      {"took", run_time(job)},
      {"error", text_of(error, "message")},
      {"error code", text_of(error, "code")},
      {"field", text_of(error, "param")},
  }));
}

struct CreateOptions {
  std::string file;
  bool watch = false;
  double patience_seconds = 300;
};

ExitCode create_job(Session& session, const CreateOptions& options) {
  const std::string text = read_input(options.file, "file");
  Json body;
  try {
    body = Json::parse(text);
  } catch (const Json::parse_error& error) {
    throw Failure(kExitData, "\"" + options.file + "\" is not JSON: " + error.what(), "file");
  }
  const Json job = session.api.post("/jobs", body);
  const std::string id = text_of(job, "id");
  if (session.out.json()) {
    session.out.object(job);
  } else if (options.watch) {
    session.out.text("job " + printable(id) + " " + printable(text_of(job, "status")) + "\n");
  } else {
    session.out.text(printable(id) + "\n");
    if (session.out.terminal()) {
      std::fprintf(stderr, "follow it with: tristill jobs watch %s\n", printable(id).c_str());
    }
  }
  return options.watch ? watch_job(session, id, options.patience_seconds) : kExitOk;
}

struct ListOptions {
  uint32_t limit = 20;
  bool all = false;
};

// Pages are followed until there are `limit` jobs, or no more with all.
Json fetch_jobs(Api& api, const ListOptions& options) {
  constexpr size_t kPage = 100;
  Json jobs = Json::array();
  std::string after;
  while (options.all || jobs.size() < options.limit) {
    const size_t page = options.all ? kPage : std::min<size_t>(kPage, options.limit - jobs.size());
    const Json answer = api.get("/jobs?limit=" + std::to_string(page) +
                                (after.empty() ? "" : "&after=" + percent_encode(after)));
    const Json& data = list_of(answer, "data");
    for (const Json& job : data) jobs.push_back(job);
    if (data.empty() || !field_of(answer, "has_more").is_boolean() ||
        !field_of(answer, "has_more").get<bool>()) {
      break;
    }
    after = text_of(data.back(), "id");
  }
  return jobs;
}

ExitCode list_jobs(Session& session, const ListOptions& options) {
  const Json jobs = fetch_jobs(session.api, options);
  if (session.out.json()) {
    session.out.object({{"object", "list"}, {"data", jobs}});
    return kExitOk;
  }
  if (jobs.empty()) {
    session.out.text(
        "no jobs; create one with: tristill jobs create configs/jobs/train-tiny.json\n");
    return kExitOk;
  }
  std::vector<std::vector<std::string>> rows;
  for (const Json& job : jobs) {
    rows.push_back({text_of(job, "id"), text_of(job, "status"), text_of(job, "model"),
                    format_time(time_of(job, "created_at")), run_time(job), progress_words(job)});
  }
  session.out.text(format_table({"ID", "STATUS", "MODEL", "CREATED", "TOOK", "PROGRESS"}, rows));
  return kExitOk;
}

// The named job, or the newest when none is named.
std::string id_or_newest(Session& session, const std::string& id) {
  if (!id.empty()) return id;
  const Json jobs = fetch_jobs(session.api, {.limit = 1, .all = false});
  if (jobs.empty()) throw Failure(kExitNotFound, "there are no jobs", "id");
  return text_of(jobs.front(), "id");
}

void add_create(CLI::App& jobs, Plan& plan) {
  auto options = std::make_shared<CreateOptions>();
  CLI::App* command = jobs.add_subcommand("create", "Create a training job");
  command->add_option("file", options->file, "JSON file (see configs/jobs/); - is standard input")
      ->required();
  command->add_flag("--watch", options->watch, "Follow it to its end");
  command->callback([options, &plan] {
    plan.action = [options](Session& session) { return create_job(session, *options); };
  });
}

void add_list(CLI::App& jobs, Plan& plan) {
  auto options = std::make_shared<ListOptions>();
  CLI::App* command = jobs.add_subcommand("list", "List jobs, newest first");
  command->add_option("--limit", options->limit, "Most jobs to list")->capture_default_str();
  command->add_flag("--all", options->all, "List all of them");
  command->callback([options, &plan] {
    plan.action = [options](Session& session) { return list_jobs(session, *options); };
  });
}

void add_show_and_watch(CLI::App& jobs, Plan& plan) {
  auto id = std::make_shared<std::string>();
  CLI::App* show = jobs.add_subcommand("show", "Show a job");
  show->add_option("id", *id, "The job; default: the newest");
  show->callback([id, &plan] {
    plan.action = [id](Session& session) {
      print_job(session.out, session.api.get(job_path(id_or_newest(session, *id))));
      return kExitOk;
    };
  });
  auto patience = std::make_shared<double>(300);
  CLI::App* watch = jobs.add_subcommand("watch", "Follow a job to its end; exits by its outcome");
  watch->add_option("id", *id, "The job; default: the newest");
  watch->add_option("--patience", *patience, "Seconds to wait for a daemon that went away")
      ->capture_default_str()
      ->check(within(0, 1e9));
  watch->callback([id, patience, &plan] {
    plan.action = [id, patience](Session& session) {
      return watch_job(session, id_or_newest(session, *id), *patience);
    };
  });
}

// cancel and resume: one POST, the job printed.
void add_transition(CLI::App& jobs, Plan& plan, const std::string& verb,
                    const std::string& description) {
  auto id = std::make_shared<std::string>();
  CLI::App* command = jobs.add_subcommand(verb, description);
  command->add_option("id", *id, "The job")->required();
  command->callback([id, verb, &plan] {
    plan.action = [id, verb](Session& session) {
      const Json job = session.api.post_bytes(job_path(*id) + "/" + verb, "application/json", "");
      if (session.out.json()) {
        session.out.object(job);
      } else {
        session.out.text("job " + printable(text_of(job, "id")) + " " +
                         printable(text_of(job, "status")) + "\n");
      }
      return kExitOk;
    };
  });
}

}  // namespace

void add_jobs_commands(CLI::App& app, Plan& plan) {
  CLI::App* jobs = app.add_subcommand("jobs", "Training jobs");
  jobs->require_subcommand(1);
  jobs->fallthrough();
  add_create(*jobs, plan);
  add_list(*jobs, plan);
  add_show_and_watch(*jobs, plan);
  add_transition(*jobs, plan, "cancel", "Stop a job; a running one writes a checkpoint first");
  add_transition(*jobs, plan, "resume", "Queue a stopped job again, from its newest checkpoint");
}

}  // namespace tristill::client
