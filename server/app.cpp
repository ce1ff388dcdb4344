#include "server/app.h"

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <thread>

#include "base/file_lock.h"
#include "base/log.h"
#include "base/name.h"
#include "base/sha256.h"
#include "model/kernels/kernels.h"
#include "server/http/listener.h"
#include "server/jobs/service.h"
#include "server/models/registry.h"
#include "server/models/routes.h"
#include "server/openai/completions.h"
#include "server/openai/tokens.h"
#include "server/ops/metrics.h"
#include "server/ops/routes.h"
#include "server/traces/service.h"

namespace tristill::server {
namespace {

namespace fs = std::filesystem;

constexpr std::chrono::milliseconds kDrainPoll{250};

engine::EngineOptions engine_options(const Settings& settings) {
  engine::EngineOptions options;
  options.n_threads = settings.threads;
  if (settings.pin_threads == "on") options.placement = ThreadTeam::Placement::pinned;
  options.max_sequences = settings.max_sequences;
  options.max_queue = settings.max_queue;
  options.max_context = settings.max_context;
  options.kv_cache_tokens = settings.kv_cache_tokens;
  options.kv_format = settings.kv_format == "int8" ? KvFormat::int8 : KvFormat::fp16;
  options.device = settings.device == "cuda" ? Device::cuda : Device::cpu;
  options.prefix_cache = settings.prefix_cache != "off";
  if (settings.prefix_cache == "disk") options.prefix_folder = settings.data / "prefix-cache";
  options.prefill_tokens = settings.prefill_tokens;
  options.draft_tokens = settings.draft_tokens;
  return options;
}

PackingOptions packing_options(const Settings& settings) {
  using Head = PackingOptions::Head;
  using Ternary = PackingOptions::Ternary;
  return {.ternary = settings.device == "cuda" ? Ternary::two_bit : Ternary::automatic,
          .head = settings.head == "int4" ? Head::int4 : Head::int8};
}

fs::path worker_path(const Settings& settings) {
  if (!settings.worker.empty()) return fs::absolute(settings.worker);
  return fs::read_symlink("/proc/self/exe").parent_path() / "tristill-worker";
}

std::vector<fs::path> model_files(const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(folder, none)) {
    if (entry.path().extension() == ".gguf") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace

struct App::Parts {
  explicit Parts(const Settings& given)
      : settings(given), registry(engine_options(given), packing_options(given)) {}

  Result<void> prepare_data();
  Result<void> load_models();
  Result<void> open_services();
  Result<void> listen();

  Settings settings;
  std::optional<FileLock> lock;
  ops::Metrics metrics;
  models::Registry registry;
  http::Router router;
  std::unique_ptr<traces::TraceService> traces;
  std::unique_ptr<jobs::JobService> jobs;
  std::unique_ptr<http::Listener> listener;
  int port = 0;
  std::atomic<bool> draining{false};
};

Result<void> App::Parts::prepare_data() {
  std::error_code failed;
  fs::create_directories(settings.data / "models", failed);
  if (!failed) fs::create_directories(settings.data / "corpora", failed);
  if (!failed) fs::create_directories(settings.data / "prefix-cache", failed);
  if (failed) {
    return Error{ErrorCode::unavailable,
                 "cannot create " + settings.data.string() + ": " + failed.message() +
                     "; give another folder with --data",
                 "data"};
  }
  settings.data = fs::absolute(settings.data);
  auto taken = FileLock::acquire(settings.data / "tristilld.lock");
  if (!taken) {
    return Error{
        ErrorCode::unavailable,
        settings.data.string() + " is used by another tristilld; give another folder with --data",
        "data"};
  }
  lock = std::move(*taken);
  return {};
}

// A model's name is its file's stem.
Result<void> publish_file(models::Registry& registry, const fs::path& path) {
  const std::string name = path.stem().string();
  if (!is_name(name)) {
    return Error{ErrorCode::invalid_argument,
                 "the file's stem is the model's name; accepted are " + std::string(kAcceptedNames),
                 "model"};
  }
  return registry.publish(name, fs::absolute(path));
}

Result<void> App::Parts::load_models() {
  if (!settings.draft_model.empty()) {
    if (auto done = registry.load_draft_model(settings.draft_model); !done) {
      return Error{done.error().code, settings.draft_model.string() + ": " + done.error().message,
                   "draft_model"};
    }
  }
  // A trained model that is damaged must not keep the others from being served.
  for (const fs::path& path : model_files(settings.data / "models")) {
    if (auto done = publish_file(registry, path); !done) {
      log_warn("model not served", {{"path", path.string()}, {"reason", done.error().message}});
    }
  }
  for (const std::string& file : settings.models) {
    if (auto done = publish_file(registry, file); !done) {
      Error error = done.error();
      error.message = file + ": " + error.message;
      return error;
    }
  }
  return {};
}

Result<void> App::Parts::open_services() {
  auto opened_traces = traces::TraceService::open(
      {.data_dir = settings.data,
       .in_use = [this](const std::string& name) { return jobs && jobs->uses_traces(name); }});
  if (!opened_traces) return opened_traces.error();
  traces = std::move(*opened_traces);
  jobs::JobServiceOptions options;
  options.data_dir = settings.data;
  options.worker_binary = worker_path(settings);
  options.publish_model = [this](const std::string& name, const fs::path& path) {
    return registry.publish(name, path);
  };
  options.model_path = [this](const std::string& name) -> std::optional<fs::path> {
    const auto served = registry.exact(name);
    return served ? std::optional(served->path) : std::nullopt;
  };
  options.trace_shard = [this](const std::string& name) { return traces->shard_path(name); };
  auto opened_jobs = jobs::JobService::open(std::move(options));
  if (!opened_jobs) return opened_jobs.error();
  jobs = std::move(*opened_jobs);
  return {};
}

void collect_gauges(ops::Metrics& metrics, const models::Registry& registry,
                    const jobs::JobService& jobs) {
  for (const auto& served : registry.list()) {
    const engine::EngineStats stats = served->engine->stats();
    const std::map<std::string, std::string> model = {{"model_name", served->name}};
    const double cache_tokens = stats.kv_tokens_total;
    const auto gauge = [&](const char* name, const char* help, double value) {
      metrics.gauge(name, help, model, value);
    };
    gauge("tristill_num_requests_running", "Sequences being computed", stats.running);
    gauge("tristill_num_requests_waiting", "Sequences that wait", stats.waiting);
    gauge("tristill_kv_cache_usage_ratio", "Share of the KV cache in use",
          cache_tokens == 0 ? 0 : stats.kv_tokens_used / cache_tokens);
    gauge("tristill_engine_steps", "Steps computed since the model was loaded",
          static_cast<double>(stats.steps));
    gauge("tristill_engine_cancelled", "Sequences whose reader left, since the model was loaded",
          static_cast<double>(stats.cancelled));
    gauge("tristill_prefix_cache_tokens", "Tokens that the prefix cache holds",
          stats.kv_tokens_cached);
    gauge("tristill_prefix_cache_hit_tokens",
          "Prompt tokens found in the prefix cache, since the model was loaded",
          static_cast<double>(stats.cached_prompt_tokens));
    gauge("tristill_prefix_cache_evicted_blocks", "Blocks given up, since the model was loaded",
          static_cast<double>(stats.evicted_blocks));
    gauge("tristill_draft_tokens_accepted", "Guessed tokens that were right, since it was loaded",
          static_cast<double>(stats.accepted_draft_tokens));
    gauge("tristill_draft_tokens_rejected", "Guessed tokens that were wrong, since it was loaded",
          static_cast<double>(stats.rejected_draft_tokens));
    gauge("tristill_preemptions", "Sequences that gave up their place, since it was loaded",
          static_cast<double>(stats.preempted));
    gauge("tristill_model_weight_bytes", "Resident weights",
          static_cast<double>(served->model->weight_bytes));
  }
  for (const auto& [state, count] : jobs.counts()) {
    metrics.gauge("tristill_jobs", "Training jobs by state", {{"state", state}},
                  static_cast<double>(count));
  }
}

// One line a request. What watches the daemon asks often and says little: seen with --log-level
// debug only.
void log_exchange(const http::Exchange& exchange) {
  const bool is_watcher = exchange.path == "/health" || exchange.path == "/livez" ||
                          exchange.path == "/readyz" || exchange.path == "/metrics";
  log_event(is_watcher ? LogLevel::debug : LogLevel::info, "request",
            {{"method", exchange.method},
             {"path", exchange.path},
             {"status", std::to_string(exchange.status)},
             {"ms", std::to_string(static_cast<int64_t>(exchange.seconds * 1000))},
             {"request", exchange.request_id}});
}

bool is_loopback(const std::string& host) {
  return host.starts_with("127.") || host == "localhost" || host == "::1";
}

std::string url_of(const std::string& host, int port) {
  const bool is_v6 = host.find(':') != std::string::npos;
  return "http://" + (is_v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

Result<void> App::Parts::listen() {
  openai::add_routes(router, registry, metrics);
  openai::add_token_routes(router, registry);
  models::add_routes(router, registry);
  ops::add_routes(router, registry, metrics, [this] { return draining.load(); });
  jobs->add_routes(router);
  traces->add_routes(router);
  metrics.on_collect([this](ops::Metrics& m) { collect_gauges(m, registry, *jobs); });
  http::ListenerOptions options;
  options.host = settings.host;
  options.port = settings.port;
  if (!settings.api_key.empty()) options.api_key_sha256 = to_hex(sha256(settings.api_key));
  listener = std::make_unique<http::Listener>(router, options, [this](const http::Exchange& e) {
    metrics.request(e.method, e.route, e.status, e.seconds);
    log_exchange(e);
  });
  const auto bound = listener->bind();
  if (!bound) return bound.error();
  port = *bound;
  if (settings.api_key.empty() && !is_loopback(settings.host)) {
    log_warn("anyone who reaches this address may use it; set an API key",
             {{"host", settings.host}});
  }
  log_info("listening", {{"url", url_of(settings.host, port)}});
  return {};
}

Result<std::unique_ptr<App>> App::start(const Settings& settings) {
  if (!kernels::force_isa(settings.isa.c_str())) {
    return Error{ErrorCode::invalid_argument,
                 "this CPU cannot run the kernels \"" + settings.isa + "\"", "isa"};
  }
  const Device device = engine_options(settings).device;
  if (auto there = check_device(device); !there) return there.error();
  auto parts = std::make_unique<Parts>(settings);
  if (auto done = parts->prepare_data(); !done) return done.error();
  if (auto done = parts->load_models(); !done) return done.error();
  if (auto done = parts->open_services(); !done) return done.error();
  if (auto done = parts->listen(); !done) return done.error();
  parts->jobs->start();  // here and not in run(): stop() may come first
  return std::unique_ptr<App>(new App(std::move(parts)));
}

App::App(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
App::~App() = default;

int App::port() const { return parts_->port; }

void App::run() { parts_->listener->serve(); }

void App::stop() {
  Parts& parts = *parts_;
  parts.draining = true;
  parts.registry.drain();
  log_info("stopping", {{"drain_seconds", std::to_string(parts.settings.drain_seconds)}});
  const auto until = std::chrono::steady_clock::now() +
                     std::chrono::duration<double>(parts.settings.drain_seconds);
  while (!parts.registry.idle() && std::chrono::steady_clock::now() < until) {
    std::this_thread::sleep_for(kDrainPoll);
  }
  parts.registry.cut();
  parts.jobs->stop();
  parts.listener->stop();
  log_info("stopped");
}

}  // namespace tristill::server
