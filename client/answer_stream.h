// A model's answer as it arrives: read from a route that streams, printed piece by piece. One
// thread. Knows no route.
#pragma once

#include <functional>
#include <string>

#include "client/commands.h"

namespace tristill::client {

struct AnswerRoute {
  std::string path;
  std::function<std::string(const Json& chunk)> text;  // what a chunk adds
  std::function<bool(const Json& chunk)> last;         // may be empty: then data: [DONE] ends it
};

struct Answer {
  std::string text;
  bool whole = true;  // false: Ctrl-C ended it
};

// Posts request and prints the text of each chunk, or with --json each chunk as a line. On a
// terminal the last line is ended. Failure: an error of the daemon, also one within the stream; a
// stream that broke or ended early.
Answer print_answer(Session& session, const AnswerRoute& route, const Json& request);

}  // namespace tristill::client
