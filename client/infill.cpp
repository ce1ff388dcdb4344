// tristill infill: the text between two others, as editors ask for it, from /infill.
#include <optional>

#include "client/answer_stream.h"
#include "client/commands.h"
#include "client/fields.h"
#include "client/gap.h"
#include "client/interrupt.h"
#include "client/sampling.h"

namespace tristill::client {
namespace {

struct InfillOptions {
  std::optional<std::string> prefix, suffix;
  std::string file;
  uint64_t line = 0, column = 0;
  std::vector<std::string> extra;
  SamplingFlags sampling;
  bool no_stream = false;
};

Gap gap_of(const InfillOptions& options) {
  const bool strings = options.prefix || options.suffix;
  if (strings == !options.file.empty()) {
    throw Failure(kExitUsage, "give --prefix and --suffix, or --file with --line and --column",
                  "file");
  }
  if (strings) {
    return {.prefix = options.prefix.value_or(""), .suffix = options.suffix.value_or("")};
  }
  const std::string text = read_input(options.file, "file");
  require_utf8(text, "file");
  auto gap = gap_at(text, options.line, options.column);
  if (!gap) throw Failure(kExitUsage, gap.error().message, gap.error().param);
  return *gap;
}

Json request_of(const Session& session, const InfillOptions& options, bool stream) {
  const Gap gap = gap_of(options);
  require_utf8(gap.prefix, "prefix");
  require_utf8(gap.suffix, "suffix");
  Json request = {{"input_prefix", gap.prefix}, {"input_suffix", gap.suffix}, {"stream", stream}};
  Json extra = Json::array();
  for (const std::string& path : options.extra) {
    const std::string text = read_input(path, "extra");
    require_utf8(text, "extra");
    extra.push_back({{"filename", path}, {"text", text}});
  }
  if (!extra.empty()) request["input_extra"] = extra;
  write_model(session, request);
  write_sampling(options.sampling, FieldNames::llama_cpp, request);
  return request;
}

bool is_stopped(const Json& chunk) {
  const Json& stop = field_of(chunk, "stop");
  return stop.is_boolean() && stop.get<bool>();
}

ExitCode infill(Session& session, const InfillOptions& options) {
  Output& out = session.out;
  const bool stream = !options.no_stream && !out.json();
  const Json request = request_of(session, options, stream);
  if (stream) {
    const AnswerRoute route{.path = "/infill",
                            .text = [](const Json& chunk) { return text_of(chunk, "content"); },
                            .last = is_stopped};
    if (!print_answer(session, route, request).whole) die_of_interrupt();
    return kExitOk;
  }
  const Json answer = session.api.post("/infill", request);
  if (out.json()) {
    out.object(answer);
    return kExitOk;
  }
  const std::string text = text_of(answer, "content");
  out.model_text(text);
  if (out.terminal() && !text.ends_with('\n')) out.text("\n");
  return kExitOk;
}

}  // namespace

void add_infill_command(CLI::App& app, Plan& plan) {
  auto options = std::make_shared<InfillOptions>();
  CLI::App* command = app.add_subcommand("infill", "Fill in the text at a place in a file");
  command->add_option("--prefix", options->prefix, "Text before the gap");
  command->add_option("--suffix", options->suffix, "Text after the gap");
  CLI::Option* file =
      command->add_option("--file", options->file, "File with the gap; - is standard input")
          ->type_name("PATH");
  CLI::Option* line = command->add_option("--line", options->line, "The gap's line, from 1");
  CLI::Option* column = command->add_option(
      "--column", options->column, "The column before which the gap is, in characters from 1");
  file->needs(line)->needs(column);
  line->needs(file);
  column->needs(file);
  command->add_option("--extra", options->extra, "File that gives context; may be repeated")
      ->type_name("PATH")
      ->expected(1)
      ->take_all()
      ->allow_extra_args(false);
  add_model_flag(*command, plan);
  add_sampling_flags(*command, options->sampling, 128);
  command->add_flag("--no-stream", options->no_stream, "Print when whole");
  command->callback([options, &plan] {
    plan.action = [options](Session& session) { return infill(session, *options); };
  });
}

}  // namespace tristill::client
