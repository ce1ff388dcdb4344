#include "client/answer_stream.h"

#include "client/fields.h"
#include "client/interrupt.h"

namespace tristill::client {

Answer print_answer(Session& session, const AnswerRoute& route, const Json& request) {
  Output& out = session.out;
  Answer answer;
  bool done = false;
  const auto end_line = [&] {
    if (out.terminal() && !out.json() && !answer.text.empty() && !answer.text.ends_with('\n')) {
      out.text("\n");
    }
  };
  const auto fail = [&](const Failure& failure) {
    end_line();
    throw failure;
  };
  const auto on_event = [&](const SseEvent& event) {
    if (event.data == "[DONE]") {
      done = true;
      return false;
    }
    const Json chunk = Json::parse(event.data, nullptr, false);
    if (chunk.is_discarded()) fail({kExitUnavailable, "the stream holds a broken chunk"});
    if (field_of(chunk, "error").is_object()) fail(failure_of(500, event.data));
    const std::string piece = route.text(chunk);
    answer.text += piece;
    if (out.json()) {
      out.object(chunk);
    } else {
      out.model_text(piece);
    }
    done = route.last && route.last(chunk);
    return !done;
  };
  const StreamEnd end = session.api.stream(
      {.method = "POST", .path = route.path, .body = request.dump(), .last_event_id = {}},
      on_event);
  end_line();
  if (done) return answer;
  if (interrupted()) {
    answer.whole = false;
    return answer;
  }
  throw Failure(kExitUnavailable, end == StreamEnd::broken
                                      ? session.api.broken_reason()
                                      : "the daemon ended the stream before the answer's end");
}

}  // namespace tristill::client
