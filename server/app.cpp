#include "server/app.h"

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <thread>

#include "base/file_lock.h"
#include "base/log.h"
#include "model/kernels/kernels.h"
#include "server/access/gate.h"
#include "server/access/key_store.h"
#include "server/access/routes.h"
#include "server/compat/fim.h"
#include "server/compat/llama_cpp.h"
#include "server/http/listener.h"
#include "server/jobs/service.h"
#include "server/models/model_files.h"
#include "server/models/registry.h"
#include "server/models/routes.h"
#include "server/openai/routes.h"
#include "server/ops/access_log.h"
#include "server/ops/debug_routes.h"
#include "server/ops/engine_watch.h"
#include "server/ops/introspection.h"
#include "server/ops/metrics.h"
#include "server/ops/model_metrics.h"
#include "server/ops/process_metrics.h"
#include "server/ops/request_history.h"
#include "server/ops/routes.h"
#include "server/traces/service.h"

namespace tristill::server {
namespace {

namespace fs = std::filesystem;

constexpr std::chrono::milliseconds kDrainPoll{250};
constexpr std::chrono::milliseconds kLastAnswers{20000};  // after the worker's checkpoint

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

models::NamePolicy name_policy(const Settings& settings) {
  using Unknown = models::NamePolicy::Unknown;
  const Unknown unknown = settings.unknown_model == "serve" ? Unknown::serve
                          : settings.unknown_model == "404" ? Unknown::refuse
                                                            : Unknown::automatic;
  models::NamePolicy policy{.aliases = {}, .unknown = unknown};
  for (const std::string& alias : settings.model_aliases) {
    const size_t equals = alias.find('=');
    policy.aliases[alias.substr(0, equals)] = alias.substr(equals + 1);
  }
  return policy;
}

std::chrono::milliseconds to_ms(double seconds) {
  return std::chrono::milliseconds(static_cast<int64_t>(seconds * 1000));
}

}  // namespace

struct App::Parts {
  Parts(const Settings& given, std::chrono::milliseconds patience)
      : settings(given),
        worker_patience(patience),
        registry(engine_options(given), packing_options(given)),
        watch(to_ms(given.stall_seconds)) {}

  Result<void> prepare_data();
  Result<void> load_models();
  Result<void> open_services();
  http::ListenerOptions listener_options();
  Result<void> open_keys();
  void add_routes();
  Result<void> listen();
  bool is_alive();

  Settings settings;
  std::chrono::milliseconds worker_patience;
  std::optional<FileLock> lock;
  ops::Metrics metrics;
  ops::RequestHistory history{metrics};
  models::Registry registry;
  openai::Services services{.registry = registry, .metrics = metrics, .history = history};
  std::optional<models::ModelFiles> model_files;
  ops::EngineWatch watch;
  http::Router router;
  std::unique_ptr<traces::TraceService> traces;
  std::unique_ptr<jobs::JobService> jobs;
  std::unique_ptr<access::KeyStore> keys;
  std::unique_ptr<http::Listener> listener;
  int port = 0;
  std::atomic<bool> draining{false};

  // What a reload brings up to date beside models and names: each says whether it could, and keeps
  // what it had when it could not. By what it is about: "api keys".
  std::map<std::string, std::function<Result<void>(const Settings& fresh)>> reload_hooks;
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

Result<void> App::Parts::load_models() {
  auto chat_template = chat::read_template_choice(settings.chat_template);
  if (!chat_template) return chat_template.error();
  registry.use_chat_template(std::move(*chat_template));
  if (!settings.draft_model.empty()) {
    if (auto done = registry.load_draft_model(settings.draft_model); !done) {
      return Error{done.error().code, settings.draft_model.string() + ": " + done.error().message,
                   "draft_model"};
    }
  }
  registry.set_names(name_policy(settings));
  model_files.emplace(registry, settings.data / "models", settings.models);
  return model_files->load_all();
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
  options.stop_patience = worker_patience;
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

http::ListenerOptions App::Parts::listener_options() {
  http::ListenerOptions options;
  options.host = settings.host;
  options.port = settings.port;
  options.socket_mode = static_cast<unsigned>(std::stoul(settings.socket_mode, nullptr, 8));
  options.tls = {settings.tls_cert, settings.tls_key, settings.tls_client_ca};
  options.sites = {settings.allowed_hosts, settings.cors_origins};
  options.gate = access::make_gate(*keys);
  return options;
}

Result<void> App::Parts::open_keys() {
  auto opened = access::KeyStore::open(
      {.path = settings.data / "keys.json", .setting_key = settings.api_key});
  if (!opened) return opened.error();
  keys = std::move(*opened);
  services.limits = &keys->limits();
  services.strict = settings.strict == "on";
  reload_hooks["API keys"] = [this](const Settings& fresh) { return keys->reload(fresh.api_key); };
  reload_hooks["certificates"] = [this](const Settings&) { return listener->reload(); };
  return {};
}

void App::Parts::add_routes() {
  access::add_routes(router, *keys);
  openai::add_routes(router, services);
  compat::add_fim_routes(router, services);
  compat::add_llama_cpp_routes(router, services);
  models::add_routes(router, registry);
  models::add_change_routes(router, registry, *model_files);
  ops::add_routes(router, registry, metrics,
                  {.is_draining = [this] { return draining.load(); },
                   .is_alive = [this] { return is_alive(); }});
  ops::add_introspection_routes(router, registry);
  ops::add_debug_routes(router, history);
  jobs->add_routes(router);
  traces->add_routes(router);
  metrics.on_collect([this](ops::Scrape& scrape) {
    ops::collect_process(scrape);
    ops::collect_models(scrape, metrics, registry);
    for (const auto& [state, count] : jobs->counts()) {
      scrape.gauge("tristill_jobs", "Training jobs by state", {{"state", state}},
                   static_cast<double>(count));
    }
  });
}

bool App::Parts::is_alive() {
  return watch.alive(registry.totals(), ops::EngineWatch::Clock::now());
}

Result<void> App::Parts::listen() {
  if (auto done = open_keys(); !done) return done;
  add_routes();
  listener = std::make_unique<http::Listener>(router, listener_options(), [this](const auto& e) {
    metrics.request(e.method, e.route, e.status, e.seconds);
    ops::log_exchange(e, history);
  });
  const auto bound = listener->bind();
  if (!bound) return bound.error();
  port = *bound;
  if (!listener->is_local() && settings.allow_open_network != "yes") {
    if (auto guarded = keys->must_guard(); !guarded) return guarded;
  } else if (!listener->is_local() && keys->is_open()) {
    log_warn("anyone who reaches this address may do everything: no API key exists");
  }
  log_info("listening", {{"url", listener->url()}});
  return {};
}

Result<std::unique_ptr<App>> App::start(const Settings& settings,
                                        std::chrono::milliseconds worker_patience) {
  if (!kernels::force_isa(settings.isa.c_str())) {
    return Error{ErrorCode::invalid_argument,
                 "this CPU cannot run the kernels \"" + settings.isa + "\"", "isa"};
  }
  const Device device = engine_options(settings).device;
  if (auto there = check_device(device); !there) return there.error();
  auto parts = std::make_unique<Parts>(settings, worker_patience);
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

std::string App::url() const { return parts_->listener->url(); }

std::vector<http::Router::Name> App::routes() const { return parts_->router.routes(); }

void App::run() { parts_->listener->serve(); }

bool App::is_alive() { return parts_->is_alive(); }

void App::reload(const Settings& fresh) {
  Parts& parts = *parts_;
  for (const auto& [what, reload_it] : parts.reload_hooks) {
    if (auto done = reload_it(fresh); !done) {
      log_error("not reloaded", {{"what", what}, {"reason", done.error().message}});
    }
  }
  parts.registry.set_names(name_policy(fresh));
  const auto changes = parts.model_files->rescan(fresh.models);
  for (const std::string& name : settings_for_restart(parts.settings, fresh)) {
    log_warn("a changed setting takes effect at the next start", {{"setting", name}});
  }
  log_info("reloaded", {{"models_served", changes.served.size()},
                        {"models_removed", changes.removed.size()},
                        {"models_failed", changes.failed.size()}});
}

std::chrono::milliseconds App::stop_patience() const {
  const Settings& settings = parts_->settings;
  return to_ms(settings.drain_delay_seconds + settings.drain_seconds) + parts_->worker_patience +
         kLastAnswers;
}

void App::stop() {
  Parts& parts = *parts_;
  parts.draining = true;
  log_info("stopping", {{"drain_delay_seconds", parts.settings.drain_delay_seconds},
                        {"drain_seconds", parts.settings.drain_seconds}});
  std::this_thread::sleep_for(to_ms(parts.settings.drain_delay_seconds));
  parts.registry.drain();
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
