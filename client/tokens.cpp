// tristill tokenize and tristill detokenize: a text and its token ids, from /tokenize and
// /detokenize.
#include <charconv>

#include "client/commands.h"
#include "client/fields.h"

namespace tristill::client {
namespace {

struct TokenizeOptions {
  std::string text, file;
  bool pieces = false, count = false;
};

std::string id_text(const Json& token) {
  const Json& id = token.is_object() ? field_of(token, "id") : token;
  return id.is_number_unsigned() ? std::to_string(id.get<uint64_t>()) : "?";
}

// The piece as JSON writes it, or its bytes in hexadecimal where they are no text.
std::string piece_text(const Json& token) {
  const Json& piece = field_of(token, "piece");
  if (piece.is_string()) return json_line(piece);
  std::string text;
  for (const Json& byte : list_of(token, "piece")) {
    char digits[8] = "";
    std::snprintf(digits, sizeof digits, "\\x%02X",
                  byte.is_number_unsigned() ? byte.get<unsigned>() & 0xFFU : 0U);
    text += digits;
  }
  return text;
}

ExitCode tokenize(Session& session, const TokenizeOptions& options) {
  Json request = {{"content", read_text(options.text, options.file, "text")}};
  write_model(session, request);
  if (options.pieces) request["with_pieces"] = true;
  const Json answer = session.api.post("/tokenize", request);
  const Json& tokens = list_of(answer, "tokens");
  Output& out = session.out;
  if (out.json()) {
    out.object(answer);
  } else if (options.count) {
    out.text(std::to_string(tokens.size()) + "\n");
  } else if (options.pieces) {
    std::vector<std::vector<std::string>> rows;
    for (const Json& token : tokens) rows.push_back({id_text(token), piece_text(token)});
    out.text(format_table({"ID", "PIECE"}, rows));
  } else {
    std::string line;
    for (const Json& token : tokens) line += (line.empty() ? "" : " ") + id_text(token);
    out.text(line + "\n");
  }
  return kExitOk;
}

// Ids apart by spaces, commas or line ends, also in the brackets of a JSON list.
Json ids_of(std::string_view text) {
  constexpr std::string_view kBetween = " \t\r\n,[]";
  Json ids = Json::array();
  while (true) {
    text.remove_prefix(std::min(text.find_first_not_of(kBetween), text.size()));
    if (text.empty()) return ids;
    const std::string_view word = text.substr(0, text.find_first_of(kBetween));
    uint32_t id = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), id);
    if (error != std::errc() || end != word.data() + word.size()) {
      throw Failure(kExitUsage, "\"" + std::string(word) + "\" is no token id", "ids");
    }
    ids.push_back(id);
    text.remove_prefix(word.size());
  }
}

ExitCode detokenize(Session& session, const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += word + " ";
  const std::string given = words.empty()                            ? ""
                            : words == std::vector<std::string>{"-"} ? "-"
                                                                     : text;
  Json request = {{"tokens", ids_of(read_text(given, "", "ids"))}};
  write_model(session, request);
  const Json answer = session.api.post("/detokenize", request);
  Output& out = session.out;
  if (out.json()) {
    out.object(answer);
    return kExitOk;
  }
  const std::string content = text_of(answer, "content");
  out.model_text(content);
  if (out.terminal() && !content.ends_with('\n')) out.text("\n");
  return kExitOk;
}

}  // namespace

void add_token_commands(CLI::App& app, Plan& plan) {
  auto options = std::make_shared<TokenizeOptions>();
  CLI::App* encode = app.add_subcommand("tokenize", "Print the token ids of a text");
  encode->add_option("text", options->text, "The text; - or nothing reads standard input");
  encode->add_option("--file", options->file, "Read the text from a file")->type_name("PATH");
  encode->add_flag("--pieces", options->pieces, "One token a line, with the text it stands for");
  encode->add_flag("--count", options->count, "Print how many there are");
  add_model_flag(*encode, plan);
  encode->callback([options, &plan] {
    plan.action = [options](Session& session) { return tokenize(session, *options); };
  });
  auto ids = std::make_shared<std::vector<std::string>>();
  CLI::App* decode = app.add_subcommand("detokenize", "Print the text of token ids");
  decode->add_option("ids", *ids, "The ids; - or nothing reads standard input");
  add_model_flag(*decode, plan);
  decode->callback([ids, &plan] {
    plan.action = [ids](Session& session) { return detokenize(session, *ids); };
  });
}

}  // namespace tristill::client
