// tristill top: what the daemon is doing, again and again on a terminal.
#include "client/top.h"

#include <poll.h>
#include <termios.h>
#include <unistd.h>

#include <chrono>
#include <ctime>
#include <deque>

#include "client/commands.h"
#include "client/fields.h"
#include "client/interrupt.h"

namespace tristill::client {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr double kWindowSeconds = 60;  // of the latencies

struct TopOptions {
  double interval_seconds = 1;
  bool once = false;
};

// None from a daemon without that route.
Json slots_of(Api& api, const std::string& model) {
  try {
    Json slots = api.get("/slots?model=" + percent_encode(model));
    return slots.is_array() ? slots : Json::array();
  } catch (const Failure& failure) {
    if (failure.exit != kExitNotFound) throw;
    return Json::array();
  }
}

Reading read_daemon(Api& api) {
  Reading reading;
  reading.models = api.get("/v1/models");
  reading.samples = parse_metrics(api.get_text("/metrics"));
  for (const Json& model : list_of(reading.models, "data")) {
    for (Json& slot : slots_of(api, text_of(model, "id"))) {
      reading.slots.push_back(std::move(slot));
    }
  }
  reading.seconds = std::chrono::duration<double>(steady_clock::now().time_since_epoch()).count();
  return reading;
}

// The readings of the last minute, the newest last.
class Readings {
 public:
  void add(Reading reading) {
    all_.push_back(std::move(reading));
    while (all_.size() > 2 && all_[1].seconds < all_.back().seconds - kWindowSeconds) {
      all_.pop_front();
    }
  }
  // Latencies of the window, or since the daemon's start where that is asked for.
  Load load(bool since_start) const {
    const bool several = all_.size() > 1;
    const Reading* before = several ? &all_[all_.size() - 2] : nullptr;
    return load_of(all_.back(), before, several && !since_start ? &all_.front() : nullptr);
  }

 private:
  std::deque<Reading> all_;
};

// The terminal as a full screen without echo, until destroyed.
class FullScreen {
 public:
  FullScreen() {
    has_keys_ = tcgetattr(STDIN_FILENO, &before_) == 0;
    if (has_keys_) {
      termios keys = before_;
      keys.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
      tcsetattr(STDIN_FILENO, TCSANOW, &keys);
    }
    write("\x1b[?1049h\x1b[?25l");  // another screen, no cursor
  }
  ~FullScreen() {
    write("\x1b[?25h\x1b[?1049l");
    if (has_keys_) tcsetattr(STDIN_FILENO, TCSANOW, &before_);
  }
  FullScreen(const FullScreen&) = delete;
  FullScreen& operator=(const FullScreen&) = delete;

  // Home, every line cleared behind its text, the rest of the screen cleared.
  static void draw(const std::string& text) {
    std::string out = "\x1b[H";
    for (const char c : text) {
      if (c == '\n') out += "\x1b[K";
      out += c;
    }
    if (out.ends_with('\n')) out.pop_back();  // no scrolling below the last line
    write(out + "\x1b[J");
  }

  // Waits; true when q was typed.
  bool quits_within(milliseconds wait) const {
    const auto until = steady_clock::now() + wait;
    while (!interrupted()) {
      const auto left = std::chrono::duration_cast<milliseconds>(until - steady_clock::now());
      if (left.count() <= 0) return false;
      pollfd input = {.fd = has_keys_ ? STDIN_FILENO : -1, .events = POLLIN, .revents = 0};
      if (poll(&input, 1, static_cast<int>(left.count())) <= 0) continue;
      char key = 0;
      if (read(STDIN_FILENO, &key, 1) != 1 || key == 'q' || key == 'Q') return true;
    }
    return true;
  }

 private:
  static void write(const std::string& text) {
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fflush(stdout);
  }
  termios before_ = {};
  bool has_keys_ = false;
};

std::string title_of(const Api& api, const char* latencies) {
  return "tristill top  " + api.server() + "  " +
         format_time(static_cast<int64_t>(std::time(nullptr))) + "  latencies " + latencies;
}

milliseconds interval_of(const TopOptions& options) {
  return milliseconds(static_cast<int64_t>(options.interval_seconds * 1000));
}

ExitCode show_screens(Session& session, const TopOptions& options) {
  const FullScreen screen;
  Readings readings;
  while (true) {
    const Output now = Output::of_process(false);  // the terminal may have another size
    try {
      readings.add(read_daemon(session.api));
      const std::string title = title_of(session.api, "of the last minute") + "  q leaves";
      FullScreen::draw(
          draw_load(readings.load(/*since_start=*/false), title, now.width(), now.height()));
    } catch (const Failure& failure) {
      if (failure.exit != kExitUnavailable) throw;
      if (interrupted()) return kExitOk;
      FullScreen::draw(draw_load({}, failure.message, now.width(), 1));
    }
    if (screen.quits_within(interval_of(options))) return kExitOk;
  }
}

// Two readings: rates are what came between them.
Load read_once(Session& session, const TopOptions& options) {
  Readings readings;
  readings.add(read_daemon(session.api));
  pause_for(interval_of(options));
  if (interrupted()) die_of_interrupt();
  readings.add(read_daemon(session.api));
  return readings.load(/*since_start=*/true);
}

ExitCode print_json_lines(Session& session, const TopOptions& options) {
  Readings readings;
  readings.add(read_daemon(session.api));
  while (true) {
    pause_for(interval_of(options));
    if (interrupted()) die_of_interrupt();
    readings.add(read_daemon(session.api));
    session.out.object(load_json(readings.load(/*since_start=*/false)));
  }
}

ExitCode top(Session& session, const TopOptions& options) {
  Output& out = session.out;
  if (!options.once && out.json()) return print_json_lines(session, options);
  if (!options.once && out.terminal()) return show_screens(session, options);
  const Load load = read_once(session, options);
  if (out.json()) {
    out.object(load_json(load));
  } else {
    constexpr size_t kAll = 1U << 20;
    out.text(draw_load(load, title_of(session.api, "since its start"), kAll, kAll));
  }
  return kExitOk;
}

}  // namespace

void add_top_command(CLI::App& app, Plan& plan) {
  auto options = std::make_shared<TopOptions>();
  CLI::App* command = app.add_subcommand("top", "Watch what the daemon is doing");
  command->add_option("--interval", options->interval_seconds, "Seconds between two readings")
      ->check(within(0.01, 3600.0))
      ->capture_default_str();
  command->add_flag("--once", options->once,
                    "Print one reading and leave, as without a terminal; --json without --once "
                    "goes on");
  command->callback([options, &plan] {
    plan.action = [options](Session& session) { return top(session, *options); };
  });
}

}  // namespace tristill::client
