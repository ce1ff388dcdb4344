#include "server/openai/respond.h"

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "server/http/error.h"
#include "server/http/json.h"
#include "server/openai/refusal.h"

namespace tristill::openai {
namespace {

using engine::FinishReason;
using nlohmann::json;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kFirstTokenWait{2000};  // for an early failure to become a status
constexpr std::chrono::seconds kPing{15};      // comments on a silent stream

http::Response failed(const std::string& reason) {
  return http::error_response(500, "", "generation failed: " + reason, "", "");
}

const Choice* failed_choice(const Completion& completion) {
  for (const Choice& choice : completion.choices()) {
    if (choice.finish() == FinishReason::error) return &choice;
  }
  return nullptr;
}

// Names as a header may carry them.
std::string header_of(const std::vector<std::string>& ignored) {
  std::string names;
  for (const std::string& name : ignored) {
    const bool plain = std::all_of(name.begin(), name.end(),
                                   [](unsigned char c) { return c > ' ' && c < 127 && c != ','; });
    if (plain && names.size() < 512) names += (names.empty() ? "" : ", ") + name;
  }
  return names;
}

http::Response answer(Completion& completion, Dialect& dialect, const http::Request& from) {
  const auto outcome = completion.run(from.client_gone);
  if (outcome == Completion::Outcome::client_left) {
    completion.account(outcome, 499);
    return http::error_response(499, "", "the client left", "", "");
  }
  completion.keep_best();
  const Choice* const failure = failed_choice(completion);
  completion.account(outcome, failure == nullptr ? 200 : 500);
  if (failure != nullptr) return failed(failure->error());
  for (Choice& choice : completion.choices()) {
    if (choice.finish() == FinishReason::deadline) choice.keep_whole_lines();
  }
  http::Response response = http::json_response(dialect.answer(completion));
  response.headers["Server-Timing"] = ops::server_timing(completion.record());
  if (outcome == Completion::Outcome::superseded) response.headers["x-superseded"] = "true";
  return response;
}

std::string sse(const json& data) {
  return "data: " + data.dump(-1, ' ', false, json::error_handler_t::replace) + "\n\n";
}

// The events of one answer, written as they come.
class EventStream {
 public:
  EventStream(Completion& completion, Dialect& dialect)
      : completion_(completion), dialect_(dialect), said_finish_(completion.choices().size()) {}

  // Whether the client heard all of it.
  bool write_all(http::StreamWriter& writer);

 private:
  std::string news();
  bool write(http::StreamWriter& writer, const std::string& text);

  Completion& completion_;
  Dialect& dialect_;
  std::vector<bool> said_finish_;
  Clock::time_point written_ = Clock::now();
};

// Of all choices together, so that it travels in one packet.
std::string EventStream::news() {
  std::string text;
  auto& choices = completion_.choices();
  for (size_t i = 0; i < choices.size(); ++i) {
    Choice& choice = choices[i];
    if (said_finish_[i] || !choice.has_news()) continue;
    said_finish_[i] = choice.finished();
    if (choice.finish() == FinishReason::error) {
      text += sse(json::parse(failed(choice.error()).body));
      continue;
    }
    for (const json& event : dialect_.events(completion_, choice)) text += sse(event);
  }
  return text;
}

bool EventStream::write(http::StreamWriter& writer, const std::string& text) {
  if (!text.empty()) {
    written_ = Clock::now();
    return writer.write(text);
  }
  if (Clock::now() - written_ < kPing) return true;
  written_ = Clock::now();
  return writer.write(": waiting\n\n");
}

bool EventStream::write_all(http::StreamWriter& writer) {
  for (bool all_said = false; !all_said;) {
    all_said = completion_.finished();  // then this round says the rest
    if (!write(writer, news()) || writer.client_gone()) return false;
    if (!all_said) completion_.advance(Completion::kSilence);
  }
  std::string end;
  if (const json last = dialect_.last_event(completion_); !last.is_null()) end = sse(last);
  if (dialect_.says_done()) end += "data: [DONE]\n\n";
  return end.empty() || writer.write(end);
}

// Waits a little for the first token, so that what fails before it fails with a status.
const Choice* early_failure(Completion& completion, const std::function<bool()>& client_gone) {
  const auto until = Clock::now() + kFirstTokenWait;
  const auto has_news = [&] {
    const auto& choices = completion.choices();
    return std::any_of(choices.begin(), choices.end(),
                       [](const Choice& choice) { return choice.has_news(); });
  };
  while (!has_news() && Clock::now() < until && !client_gone())
    completion.advance(Completion::kSilence);
  return failed_choice(completion);
}

http::Response stream(std::shared_ptr<Completion> completion, std::shared_ptr<Dialect> dialect,
                      const http::Request& from) {
  if (const Choice* choice = early_failure(*completion, from.client_gone)) {
    completion->account(Completion::Outcome::finished, 500);
    return failed(choice->error());
  }
  http::Response response;
  response.content_type = "text/event-stream; charset=utf-8";
  response.stream = [completion, dialect](http::StreamWriter& writer) {
    const bool heard = EventStream(*completion, *dialect).write_all(writer);
    completion->account(heard ? Completion::Outcome::finished : Completion::Outcome::client_left,
                        heard ? 200 : 499);
  };
  return response;
}

}  // namespace

http::Response refusal_of_body(const Error& error) {
  return refusal(error, error.param.empty() ? "invalid_json" : "");
}

http::Response refusal_by_model(const Error& error, const models::ServedModel& served) {
  if (error.code == ErrorCode::resource_exhausted) {
    http::Response busy = refusal(error);
    http::set_retry_after(busy, std::max(served.engine->predicted_wait(), milliseconds(1)));
    return busy;
  }
  if (error.param == "suffix") {
    return http::error_response(501, "", error.message, error.param, "unsupported_parameter");
  }
  return refusal(error,
                 error.message.starts_with("context_length") ? "context_length_exceeded" : "");
}

http::Response respond(const http::Request& from, CompletionRequest request,
                       std::shared_ptr<models::ServedModel> served,
                       std::unique_ptr<Dialect> dialect, Services& services) {
  auto submitted = Completion::submit(std::move(request), served, from, services);
  if (!submitted) return refusal_by_model(submitted.error(), *served);
  const std::shared_ptr<Completion> completion = std::move(*submitted);
  http::Response response = completion->request().stream
                                ? stream(completion, std::move(dialect), from)
                                : answer(*completion, *dialect, from);
  const std::string names = header_of(completion->request().ignored);
  if (!names.empty()) response.headers["x-ignored-params"] = names;
  response.headers["openai-model"] = served->name;
  return response;
}

http::Response serve(const http::Request& from, Services& services,
                     const std::function<Result<CompletionRequest>(std::string_view)>& parse,
                     std::unique_ptr<Dialect> dialect) {
  if (auto too_large = refusal_of_size(from)) return *too_large;
  auto request = parse(from.body);
  if (!request) return refusal_of_body(request.error());
  auto served = services.registry.find(request->model);
  if (!served) return refusal(served.error());
  return respond(from, std::move(*request), *served, std::move(dialect), services);
}

}  // namespace tristill::openai
