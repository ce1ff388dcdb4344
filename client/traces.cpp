// tristill traces: upload, list, delete.
#include "client/traces.h"

#include <algorithm>

#include "client/commands.h"
#include "client/fields.h"
#include "client/interrupt.h"

namespace tristill::client {
namespace {

constexpr size_t kUploadBytes = size_t{8} << 20;

struct UploadOptions {
  std::string name;
  std::vector<std::string> files;
};

// One file in batches; each is stored whole or not at all. The set as it is after the last.
Json upload_file(Session& session, const std::string& name, const std::string& file) {
  const std::string text = read_input(file, "file");
  const std::vector<LineBatch> batches = cut_lines(text, kUploadBytes);
  if (batches.empty()) throw Failure(kExitData, "\"" + file + "\" holds no records", "file");
  const bool live = session.out.terminal() && !session.out.json() && batches.size() > 1;
  Json set;
  for (size_t i = 0; i < batches.size(); ++i) {
    const LineBatch& batch = batches[i];
    try {
      set = session.api.post_bytes("/traces?name=" + percent_encode(name), "application/x-ndjson",
                                   batch.bytes);
    } catch (const Failure& failure) {
      session.out.end_line();
      std::string message = file + ": " + failure.message;
      if (batch.first_line > 1) {
        message += "; lines count from line " + std::to_string(batch.first_line) +
                   ", those before it are stored";
      }
      throw Failure(failure.exit, message, failure.param, failure.code);
    }
    if (live) {
      const double share = static_cast<double>(i + 1) / static_cast<double>(batches.size());
      ProgressLine line;
      line.phase = file;
      line.fraction = share;
      session.out.redraw(format_progress(line, session.out.width() - 1));
    }
  }
  session.out.end_line();
  return set;
}

ExitCode upload_traces(Session& session, const UploadOptions& options) {
  Json set;
  for (const std::string& file : options.files) set = upload_file(session, options.name, file);
  if (session.out.json()) {
    session.out.object(set);
    return kExitOk;
  }
  const auto number = [&](const char* key) {
    return std::to_string(count_of(set, key).value_or(0));
  };
  session.out.text("traces " + options.name + ": " + number("records") + " records, " +
                   number("tokens") + " tokens, " + number("scored_tokens") +
                   " with a teacher's probabilities\n");
  return kExitOk;
}

ExitCode list_traces(Session& session) {
  const Json answer = session.api.get("/traces");
  if (session.out.json()) {
    session.out.object(answer);
    return kExitOk;
  }
  std::vector<std::vector<std::string>> rows;
  for (const Json& set : list_of(answer, "data")) {
    const auto number = [&](const char* key) {
      return format_count(static_cast<double>(count_of(set, key).value_or(0)));
    };
    rows.push_back({text_of(set, "id"), number("records"), number("tokens"),
                    number("scored_tokens"), format_time(time_of(set, "created_at"))});
  }
  session.out.text(rows.empty()
                       ? "no traces\n"
                       : format_table({"NAME", "RECORDS", "TOKENS", "SCORED", "CREATED"}, rows));
  return kExitOk;
}

ExitCode delete_traces(Session& session, const std::string& name) {
  const Json answer = session.api.remove("/traces/" + percent_encode(name));
  if (session.out.json()) {
    session.out.object(answer);
  } else {
    session.out.text("deleted " + printable(name) + "\n");
  }
  return kExitOk;
}

}  // namespace

std::vector<LineBatch> cut_lines(std::string_view text, size_t max_bytes) {
  std::vector<LineBatch> batches;
  size_t line_number = 1;
  LineBatch batch;
  bool has_text = false;
  const auto close = [&] {
    if (has_text) batches.push_back(batch);
    has_text = false;
    batch = LineBatch{.bytes = {}, .first_line = line_number, .lines = 0};
  };
  for (size_t at = 0; at < text.size();) {
    const size_t newline = text.find('\n', at);
    const size_t end = newline == std::string_view::npos ? text.size() : newline + 1;
    const std::string_view line = text.substr(at, end - at);
    if (batch.lines > 0 && batch.bytes.size() + line.size() > max_bytes) close();
    batch.bytes = batch.lines == 0
                      ? line
                      : std::string_view(batch.bytes.data(), batch.bytes.size() + line.size());
    ++batch.lines;
    ++line_number;
    has_text = has_text || line.find_first_not_of(" \t\r\n") != std::string_view::npos;
    at = end;
  }
  close();
  return batches;
}

void add_traces_commands(CLI::App& app, Plan& plan) {
  CLI::App* traces = app.add_subcommand("traces", "A teacher's answers to learn from");
  traces->require_subcommand(1);
  traces->fallthrough();
  auto options = std::make_shared<UploadOptions>();
  CLI::App* upload = traces->add_subcommand("upload", "Append JSON Lines files to a named set");
  upload->add_option("name", options->name, "The set; created when new")->required();
  upload->add_option("files", options->files, "JSON Lines files; - is standard input")->required();
  upload->callback([options, &plan] {
    plan.action = [options](Session& session) { return upload_traces(session, *options); };
  });
  traces->add_subcommand("list", "List the sets")->callback([&plan] { plan.action = list_traces; });
  auto name = std::make_shared<std::string>();
  CLI::App* remove = traces->add_subcommand("delete", "Remove a set");
  remove->add_option("name", *name, "The set")->required();
  remove->callback([name, &plan] {
    plan.action = [name](Session& session) { return delete_traces(session, *name); };
  });
}

}  // namespace tristill::client
