// tristill complete: one prompt to /v1/completions, printed as it comes.
#include <unistd.h>

#include <optional>

#include "base/utf8.h"
#include "client/commands.h"
#include "client/fields.h"
#include "client/interrupt.h"

namespace tristill::client {
namespace {

struct CompleteOptions {
  std::string prompt, file, suffix, suffix_file, model;
  uint32_t max_tokens = 128;
  uint32_t n = 1;
  std::optional<double> temperature, top_p;
  std::optional<int64_t> seed;
  std::vector<std::string> stop;
  bool echo = false, stream = false, no_stream = false;
};

std::string prompt_of(const CompleteOptions& options) {
  if (!options.prompt.empty() && !options.file.empty()) {
    throw Failure(kExitUsage, "give the prompt or --file, not both", "prompt");
  }
  if (!options.file.empty()) return read_input(options.file, "file");
  if (!options.prompt.empty() && options.prompt != "-") return options.prompt;
  if (options.prompt.empty() && isatty(STDIN_FILENO) == 1) {
    throw Failure(kExitUsage,
                  "no prompt: give it as an argument, with --file PATH, or on standard input",
                  "prompt");
  }
  return read_input("-", "prompt");
}

Json request_of(const CompleteOptions& options, bool stream) {
  Json body = {{"prompt", prompt_of(options)}, {"max_tokens", options.max_tokens}};
  if (!options.model.empty()) body["model"] = options.model;
  if (!options.suffix.empty() && !options.suffix_file.empty()) {
    throw Failure(kExitUsage, "give --suffix or --suffix-file, not both", "suffix");
  }
  if (!options.suffix.empty()) body["suffix"] = options.suffix;
  if (!options.suffix_file.empty()) body["suffix"] = read_input(options.suffix_file, "suffix-file");
  if (options.n != 1) body["n"] = options.n;
  if (options.temperature) body["temperature"] = *options.temperature;
  if (options.top_p) body["top_p"] = *options.top_p;
  if (options.seed) body["seed"] = *options.seed;
  if (!options.stop.empty()) body["stop"] = options.stop;
  if (options.echo) body["echo"] = true;
  if (stream) body["stream"] = true;
  for (const char* field : {"prompt", "suffix"}) {
    if (!utf8_is_valid(text_of(body, field))) {
      throw Failure(kExitData, std::string("the ") + field + " is not UTF-8 text", field);
    }
  }
  return body;
}

// Text of a model to standard output; on a terminal it cannot send control sequences.
void print_text(Output& out, const std::string& text) {
  out.text(out.terminal() ? printable(text) : text);
}

void print_choices(Output& out, const Json& completion) {
  const Json& choices = list_of(completion, "choices");
  for (size_t i = 0; i < choices.size(); ++i) {
    const std::string text = text_of(choices[i], "text");
    if (choices.size() > 1) {
      out.text("--- " + std::to_string(i + 1) + " of " + std::to_string(choices.size()) + " ---\n");
    }
    print_text(out, text);
    if ((out.terminal() || choices.size() > 1) && !text.ends_with('\n')) out.text("\n");
  }
}

ExitCode complete_streaming(Session& session, const CompleteOptions& options) {
  Output& out = session.out;
  bool done = false;
  bool at_line_start = true;
  const auto on_event = [&](const SseEvent& event) {
    if (event.data == "[DONE]") {
      done = true;
      return false;
    }
    const Json chunk = Json::parse(event.data, nullptr, false);
    if (chunk.is_discarded()) throw Failure(kExitUnavailable, "the stream holds a broken chunk");
    if (field_of(chunk, "error").is_object()) throw failure_of(500, event.data);
    if (out.json()) {
      out.object(chunk);
      return true;
    }
    for (const Json& choice : list_of(chunk, "choices")) {
      const std::string text = text_of(choice, "text");
      if (!text.empty()) at_line_start = text.ends_with('\n');
      print_text(out, text);
    }
    return true;
  };
  const StreamEnd end = session.api.stream({.method = "POST",
                                            .path = "/v1/completions",
                                            .body = request_of(options, true).dump(),
                                            .last_event_id = {}},
                                           on_event);
  if (out.terminal() && !out.json() && !at_line_start) out.text("\n");
  if (done) return kExitOk;
  if (interrupted()) die_of_interrupt();
  throw Failure(kExitUnavailable, end == StreamEnd::broken
                                      ? session.api.broken_reason()
                                      : "the daemon ended the stream before the completion's end");
}

ExitCode complete(Session& session, const CompleteOptions& options) {
  if (options.stream && options.no_stream) {
    throw Failure(kExitUsage, "give --stream or --no-stream, not both", "stream");
  }
  // Several choices arrive interleaved, and one JSON object is easier read than many.
  const bool stream =
      options.stream || (!options.no_stream && !session.out.json() && options.n == 1);
  if (stream && options.n > 1 && !session.out.json()) {
    throw Failure(kExitUsage, "--stream with --n over 1 needs --json: choices interleave", "n");
  }
  if (stream) return complete_streaming(session, options);
  const Json completion = session.api.post("/v1/completions", request_of(options, false));
  if (session.out.json()) {
    session.out.object(completion);
  } else {
    print_choices(session.out, completion);
  }
  return kExitOk;
}

}  // namespace

void add_complete_command(CLI::App& app, Plan& plan) {
  auto options = std::make_shared<CompleteOptions>();
  CLI::App* command = app.add_subcommand("complete", "Complete a prompt");
  command->add_option("prompt", options->prompt, "The prompt; - or nothing reads standard input");
  command->add_option("--file", options->file, "Read the prompt from a file")->type_name("PATH");
  command->add_option("--suffix", options->suffix, "Text after the gap (fill in the middle)");
  command->add_option("--suffix-file", options->suffix_file, "The same from a file")
      ->type_name("PATH");
  command->add_option("--model", options->model, "Model; default: the one that is served")
      ->envname("TRISTILL_MODEL")
      ->type_name("NAME");
  command->add_option("--max-tokens", options->max_tokens, "Most tokens to write")
      ->capture_default_str();
  command->add_option("--temperature", options->temperature, "0 (greedy) to 2; default 1")
      ->check(CLI::Range(0.0, 2.0));
  command->add_option("--top-p", options->top_p, "0 to 1; default 1")->check(CLI::Range(0.0, 1.0));
  command->add_option("--seed", options->seed, "Same seed, same text");
  command->add_option("--stop", options->stop, "Text that ends the completion; may be repeated")
      ->expected(1)
      ->take_all()
      ->allow_extra_args(false);
  command->add_option("--n", options->n, "Choices")
      ->check(CLI::Range(1, 128))
      ->capture_default_str();
  command->add_flag("--echo", options->echo, "Print the prompt before the completion");
  command->add_flag("--stream", options->stream, "Print as it comes (the default without --json)");
  command->add_flag("--no-stream", options->no_stream, "Print when whole");
  command->callback([options, &plan] {
    plan.action = [options](Session& session) { return complete(session, *options); };
  });
}

}  // namespace tristill::client
