#include "client/watch.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <utility>

#include "client/commands.h"
#include "client/fields.h"
#include "client/interrupt.h"

namespace tristill::client {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

bool is_progress(const std::string& type) { return type == "progress" || type == "metrics"; }

// Prints a job's events in the manner of the output: JSON lines, a live line, or plain lines.
class EventPrinter {
 public:
  explicit EventPrinter(Output& out) : out_(out) {}

  void show(const Json& event) {
    if (out_.json()) {
      out_.object(event);
      return;
    }
    const std::string type = text_of(event, "type");
    apply_event(event, line_);
    if (out_.terminal()) {
      if (!is_progress(type)) print_above(words(event, type));
      out_.redraw(format_progress(line_, out_.width() - 1));
    } else {
      out_.text(clock_time(event) + words(event, type) + "\n");
    }
  }

  void lost(const std::string& reason) {
    if (out_.terminal() && !out_.json()) {
      out_.redraw("connection lost; waiting for the daemon");
    } else {
      std::fprintf(stderr, "tristill: %s; waiting for it to come back\n", reason.c_str());
    }
  }

  void end() {
    if (!out_.json()) out_.end_line();
  }

 private:
  void print_above(const std::string& text) {
    out_.redraw(text);
    out_.end_line();
  }

  static std::string clock_time(const Json& event) {
    const std::string time = format_time(time_of(event, "created_at"));
    return time.empty() ? "" : time.substr(11) + " ";
  }

  std::string words(const Json& event, const std::string& type) const {
    const std::string message = printable(text_of(event, "message"));
    const std::string level = text_of(event, "level");
    const std::string mark = level == "warn" || level == "error" ? level + ": " : "";
    if (is_progress(type)) return format_progress_words(line_);
    if (type == "checkpoint") {
      const std::optional<uint64_t> step = count_of(field_of(event, "data"), "step");
      return "checkpoint" + (step ? " at step " + std::to_string(*step) : " " + message);
    }
    return mark + (message.empty() ? printable(type) : message);
  }

  Output& out_;
  ProgressLine line_;
};

// The connection to one job's event stream over the daemon's restarts.
class Watch {
 public:
  Watch(Session& session, std::string id, double patience_seconds)
      : session_(session),
        id_(std::move(id)),
        patience_(static_cast<int64_t>(std::min(patience_seconds, 1e9) * 1000)),
        printer_(session.out) {}

  // The job as it ended.
  Json follow() {
    milliseconds wait{250};
    auto last_contact = steady_clock::now();
    while (true) {
      const bool heard = connect_once();
      if (interrupted()) stop();
      try {
        Json job = session_.api.get("/jobs/" + percent_encode(id_));
        contacted_ = true;
        last_contact = steady_clock::now();
        const std::string status = text_of(job, "status");
        if ((is_final_status(status) || status == "paused") && (heard || done_)) {
          printer_.end();
          return job;
        }
      } catch (const Failure& failure) {
        if (failure.exit != kExitUnavailable || !contacted_) throw;
        if (steady_clock::now() - last_contact > patience_) throw;
      }
      if (heard) wait = milliseconds{250};
      pause_for(wait);
      if (interrupted()) stop();
      wait = std::min(wait * 2, milliseconds{4000});
    }
  }

 private:
  // One connection until it ends. True when the daemon ended it in order.
  bool connect_once() {
    StreamRequest request{.method = "GET",
                          .path = "/jobs/" + percent_encode(id_) + "/events?stream=true",
                          .body = {},
                          .last_event_id = last_id_};
    try {
      const StreamEnd end = session_.api.stream(request, [&](const SseEvent& event) {
        contacted_ = true;
        return take(event);
      });
      if (end == StreamEnd::broken && contacted_) printer_.lost(session_.api.broken_reason());
      if (end == StreamEnd::broken && !contacted_) {
        throw Failure(kExitUnavailable, session_.api.broken_reason());
      }
      return end != StreamEnd::broken;
    } catch (const Failure& failure) {
      // A daemon that is stopping or starting says 503.
      if (failure.exit != kExitUnavailable || !contacted_) throw;
      printer_.lost(failure.message);
      return false;
    }
  }

  bool take(const SseEvent& event) {
    if (event.data == "[DONE]") {
      done_ = true;
      return false;
    }
    const Json object = Json::parse(event.data, nullptr, false);
    if (object.is_discarded()) throw Failure(kExitDefect, "the event stream holds a broken event");
    if (field_of(object, "error").is_object() && text_of(object, "object").empty()) {
      throw failure_of(500, event.data);
    }
    if (!event.id.empty()) last_id_ = event.id;
    printer_.show(object);
    return true;
  }

  [[noreturn]] void stop() {
    printer_.end();
    std::fprintf(stderr, "job %s goes on; follow it with: tristill jobs watch %s\n", id_.c_str(),
                 id_.c_str());
    die_of_interrupt();
  }

  Session& session_;
  std::string id_;
  milliseconds patience_;
  EventPrinter printer_;
  std::string last_id_;
  bool contacted_ = false;
  bool done_ = false;
};

}  // namespace

void apply_event(const Json& event, ProgressLine& line) {
  const std::string type = text_of(event, "type");
  if (!is_progress(type)) return;
  const Json& data = field_of(event, "data");
  if (const auto phase = text_of(data, "phase"); !phase.empty()) line.phase = phase;
  if (const auto step = count_of(data, "step")) line.step = step;
  if (type == "progress") {
    line.fraction = number_of(data, "fraction");
    line.eta_seconds = number_of(data, "eta_seconds");
    if (const auto total = count_of(data, "total_steps")) line.total_steps = total;
  } else {
    if (const auto loss = number_of(data, "loss")) line.loss = loss;
    if (const auto speed = number_of(data, "tokens_per_second")) line.tokens_per_second = speed;
  }
}

bool is_final_status(const std::string& status) {
  return status == "succeeded" || status == "failed" || status == "cancelled";
}

ExitCode exit_of_job(const Json& job) {
  static constexpr std::array<std::pair<const char*, ErrorCode>, 7> kCodes = {{
      {"invalid_argument", ErrorCode::invalid_argument},
      {"not_found", ErrorCode::not_found},
      {"conflict", ErrorCode::conflict},
      {"resource_exhausted", ErrorCode::resource_exhausted},
      {"unavailable", ErrorCode::unavailable},
      {"corrupt", ErrorCode::corrupt},
      {"cancelled", ErrorCode::cancelled},
  }};
  const std::string status = text_of(job, "status");
  if (status == "succeeded") return kExitOk;
  if (status == "cancelled" || status == "paused") return kExitInterrupted;
  const std::string code = text_of(field_of(job, "error"), "code");
  for (const auto& [name, value] : kCodes) {
    if (code == name) return exit_code(value);
  }
  return kExitDefect;
}

ExitCode watch_job(Session& session, const std::string& id, double patience_seconds) {
  const Json job = Watch(session, id, patience_seconds).follow();
  Output& out = session.out;
  const std::string status = text_of(job, "status");
  if (out.json()) {
    out.object(job);
  } else if (status == "succeeded") {
    const std::string model = printable(text_of(job, "fine_tuned_model"));
    out.text("succeeded: " + model + " is served; try: tristill complete --model " + model +
             " \"def \"\n");
  } else if (status == "cancelled") {
    out.text("cancelled; go on with: tristill jobs resume " + printable(id) + "\n");
  }
  const ExitCode exit = exit_of_job(job);
  const Json& error = field_of(job, "error");
  if ((status == "failed" || (status == "paused" && error.is_object())) && !out.json()) {
    throw Failure(exit, "job " + id + " " + status + ": " + text_of(error, "message"),
                  text_of(error, "param"), text_of(error, "code"));
  }
  return exit;
}

}  // namespace tristill::client
