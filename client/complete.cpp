// tristill complete: one prompt to /v1/completions, printed as it comes.
#include <optional>

#include "client/answer_stream.h"
#include "client/commands.h"
#include "client/fields.h"
#include "client/interrupt.h"
#include "client/sampling.h"

namespace tristill::client {
namespace {

struct CompleteOptions {
  std::string prompt, file, suffix, suffix_file;
  SamplingFlags sampling;
  uint32_t n = 1;
  std::optional<uint32_t> logprobs;
  bool echo = false, stream = false, no_stream = false;
};

Json request_of(const Session& session, const CompleteOptions& options, bool stream) {
  if (!options.suffix.empty() && !options.suffix_file.empty()) {
    throw Failure(kExitUsage, "give --suffix or --suffix-file, not both", "suffix");
  }
  Json body = {{"prompt", read_text(options.prompt, options.file, "prompt")}};
  write_model(session, body);
  write_sampling(options.sampling, FieldNames::openai, body);
  if (!options.suffix.empty()) body["suffix"] = options.suffix;
  if (!options.suffix_file.empty()) body["suffix"] = read_input(options.suffix_file, "suffix-file");
  require_utf8(text_of(body, "suffix"), "suffix");
  if (options.n != 1) body["n"] = options.n;
  if (options.logprobs) body["logprobs"] = *options.logprobs;
  if (options.echo) body["echo"] = true;
  if (stream) body["stream"] = true;
  return body;
}

std::string logprob_text(const Json& value) {
  char text[32] = "";
  if (value.is_number()) std::snprintf(text, sizeof text, "%.4f", value.get<double>());
  return text;
}

// One row a token: the token as JSON writes it, its log-probability and the likeliest instead.
std::string logprobs_table(const Json& logprobs) {
  const Json& tokens = list_of(logprobs, "tokens");
  const Json& own = list_of(logprobs, "token_logprobs");
  const Json& top = list_of(logprobs, "top_logprobs");
  std::vector<std::vector<std::string>> rows;
  for (size_t i = 0; i < tokens.size(); ++i) {
    std::string others;
    if (i < top.size() && top[i].is_object()) {
      for (const auto& [token, logprob] : top[i].items()) {
        others += (others.empty() ? "" : "  ") + json_line(token) + " " + logprob_text(logprob);
      }
    }
    rows.push_back(
        {json_line(tokens[i]), i < own.size() ? logprob_text(own[i]) : "", std::move(others)});
  }
  return format_table({"TOKEN", "LOGPROB", "LIKELIEST"}, rows);
}

void print_choices(Output& out, const Json& completion) {
  const Json& choices = list_of(completion, "choices");
  for (size_t i = 0; i < choices.size(); ++i) {
    const std::string text = text_of(choices[i], "text");
    const Json& logprobs = field_of(choices[i], "logprobs");
    if (choices.size() > 1) {
      out.text("--- " + std::to_string(i + 1) + " of " + std::to_string(choices.size()) + " ---\n");
    }
    out.model_text(text);
    const bool more = out.terminal() || choices.size() > 1 || logprobs.is_object();
    if (more && !text.ends_with('\n')) out.text("\n");
    if (logprobs.is_object()) out.text("\n" + logprobs_table(logprobs));
  }
}

std::string text_of_chunk(const Json& chunk) {
  std::string text;
  for (const Json& choice : list_of(chunk, "choices")) text += text_of(choice, "text");
  return text;
}

ExitCode complete(Session& session, const CompleteOptions& options) {
  if (options.stream && options.no_stream) {
    throw Failure(kExitUsage, "give --stream or --no-stream, not both", "stream");
  }
  // Several choices arrive interleaved, a table comes last, and one JSON object is easier read
  // than many.
  const bool live = !session.out.json() && options.n == 1 && !options.logprobs;
  const bool stream = options.stream || (!options.no_stream && live);
  if (stream && !live && !session.out.json()) {
    throw Failure(kExitUsage, "--stream with --logprobs or --n over 1 needs --json",
                  options.logprobs ? "logprobs" : "n");
  }
  const Json request = request_of(session, options, stream);
  if (stream) {
    const AnswerRoute route{.path = "/v1/completions", .text = text_of_chunk, .last = {}};
    if (!print_answer(session, route, request).whole) die_of_interrupt();
    return kExitOk;
  }
  const Json completion = session.api.post("/v1/completions", request);
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
  add_model_flag(*command, plan);
  add_sampling_flags(*command, options->sampling, 128);
  command->add_option("--n", options->n, "Choices, 1 to 128")
      ->check(within(1, 128))
      ->capture_default_str();
  command
      ->add_option("--logprobs", options->logprobs,
                   "Print a table of log-probabilities with so many of the likeliest, 0 to 20")
      ->check(within(0, 20));
  command->add_flag("--echo", options->echo, "Print the prompt before the completion");
  command->add_flag("--stream", options->stream, "Print as it comes (the default without --json)");
  command->add_flag("--no-stream", options->no_stream, "Print when whole");
  command->callback([options, &plan] {
    plan.action = [options](Session& session) { return complete(session, *options); };
  });
}

}  // namespace tristill::client
