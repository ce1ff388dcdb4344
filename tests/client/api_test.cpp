#include "client/api.h"

#include <gtest/gtest.h>

#include "client/commands.h"
#include "client/traces.h"

namespace tristill::client {
namespace {

TEST(FailureOf, TakesTheDaemonsWords) {
  const Failure failure = failure_of(
      400, R"({"error": {"message": "n is 0", "type": "invalid_request_error", "param": "n",
               "code": "invalid_value"}})");
  EXPECT_EQ(failure.exit, kExitUsage);
  EXPECT_EQ(failure.message, "n is 0");
  EXPECT_EQ(failure.param, "n");
  EXPECT_EQ(failure.code, "invalid_value");
}

TEST(FailureOf, AnyBodyIsAMessage) {
  for (const char* body : {"", "<html>", "[]", "{\"error\": 3}", "{\"error\": {\"message\": 1}}"}) {
    EXPECT_EQ(failure_of(500, body).message, "the daemon answered 500 without saying why") << body;
  }
}

TEST(ExitOfStatus, TellsTheKindsApart) {
  EXPECT_EQ(exit_of_status(400), kExitUsage);
  EXPECT_EQ(exit_of_status(413), kExitUsage);
  EXPECT_EQ(exit_of_status(401), kExitPermission);
  EXPECT_EQ(exit_of_status(404), kExitNotFound);
  EXPECT_EQ(exit_of_status(409), kExitConflict);
  EXPECT_EQ(exit_of_status(429), kExitUnavailable);
  EXPECT_EQ(exit_of_status(503), kExitUnavailable);
  EXPECT_EQ(exit_of_status(507), kExitResource);
  EXPECT_EQ(exit_of_status(500), kExitDefect);
}

TEST(Api, RefusesWhatIsNoUrl) {
  for (const char* url : {"", "127.0.0.1", "ftp://host", "http://", "http://a b", "nonsense://x",
                          "unix:", "unix:relative"}) {
    EXPECT_THROW(Api({.server = url, .api_key = {}}), Failure) << url;
  }
  EXPECT_THROW(Api({.server = "http://127.0.0.1:1", .api_key = "a\r\nX: y"}), Failure);
}

TEST(Api, TakesAUrlWithSlashesOrTheSdksV1) {
  EXPECT_EQ(Api({.server = "http://h:1//", .api_key = {}}).server(), "http://h:1");
  EXPECT_EQ(Api({.server = "http://h:1/v1", .api_key = {}}).server(), "http://h:1");
}

TEST(Api, TakesASocketsPath) {
  EXPECT_EQ(Api({.server = "unix:/run/d.sock", .api_key = {}}).server(), "unix:/run/d.sock");
  EXPECT_EQ(Api({.server = "unix:///run/d.sock", .api_key = {}}).server(), "unix:/run/d.sock");
}

TEST(Api, RefusesAMissingCaFile) {
  EXPECT_THROW(Api({.server = "https://h", .api_key = {}, .ca_file = "/nowhere.pem"}), Failure);
}

TEST(PercentEncode, LeavesOnlyUnreservedCharacters) {
  EXPECT_EQ(percent_encode("a-Z_0.~"), "a-Z_0.~");
  EXPECT_EQ(percent_encode("a/b?c=\xC3\xA9 "), "a%2Fb%3Fc%3D%C3%A9%20");
}

TEST(CutLines, KeepsEveryByteAndCutsOnlyBetweenLines) {
  const std::string text = "one\ntwo\n\nthree is long\nlast";
  for (size_t max_bytes = 1; max_bytes < text.size() + 2; ++max_bytes) {
    std::string joined;
    size_t line = 1;
    for (const LineBatch& batch : cut_lines(text, max_bytes)) {
      if (batch.first_line > line) {  // blank batches are left out
        joined += std::string(batch.first_line - line, '\n');
      }
      EXPECT_TRUE(batch.bytes.size() <= max_bytes || batch.lines == 1) << max_bytes;
      joined += batch.bytes;
      line = batch.first_line + batch.lines;
    }
    EXPECT_EQ(joined, text) << max_bytes;
  }
}

TEST(CutLines, BlankTextHasNoBatches) {
  EXPECT_TRUE(cut_lines("", 10).empty());
  EXPECT_TRUE(cut_lines("\n \r\n\n", 1).empty());
}

std::vector<std::string> candidates(const std::vector<std::string>& words) {
  CLI::App app("", "tristill");
  Plan plan;
  build_app(app, plan);
  // Port 1 of this machine answers nobody, so names stay empty.
  std::vector<std::string> all = {"--server", "http://127.0.0.1:1"};
  all.insert(all.end(), words.begin(), words.end());
  return complete_words(app, all, [](const char*) { return std::nullopt; });
}

using Words = std::vector<std::string>;

TEST(CompleteWords, OffersSubcommands) {
  EXPECT_EQ(candidates({""}),
            (Words{"complete", "chat", "infill", "score", "tokenize", "detokenize", "models",
                   "jobs", "traces", "keys", "health", "requests", "top", "config", "completion"}));
  EXPECT_EQ(candidates({"jobs", "c"}), (Words{"create", "cancel"}));
  EXPECT_EQ(candidates({"--json", "jobs", "re"}), Words{"resume"});
  EXPECT_EQ(candidates({"models", ""}), (Words{"list", "show", "add", "remove"}));
  EXPECT_EQ(candidates({"keys", ""}), (Words{"list", "create", "revoke"}));
}

TEST(CompleteWords, OffersFlagsOfTheCommandAndThoseAboveIt) {
  const Words flags = candidates({"jobs", "watch", "--"});
  for (const char* flag : {"--patience", "--json", "--server", "--api-key", "--help"}) {
    EXPECT_NE(std::find(flags.begin(), flags.end(), flag), flags.end()) << flag;
  }
  EXPECT_EQ(candidates({"complete", "--max"}), Words{"--max-tokens"});
}

TEST(CompleteWords, AsksTheShellForFiles) {
  EXPECT_EQ(candidates({"jobs", "create", ""}), Words{"@files"});
  EXPECT_EQ(candidates({"complete", "--file", "x"}), Words{"@files"});
  EXPECT_EQ(candidates({"score", "--traces", ""}), Words{"@files"});
  EXPECT_EQ(candidates({"--ca-file", ""}), Words{"@files"});
  EXPECT_EQ(candidates({"models", "add", ""}), Words{"@files"});
  EXPECT_EQ(candidates({"traces", "upload", "name", ""}), Words{"@files"});
}

TEST(CompleteWords, WithoutADaemonThereAreNoNames) {
  EXPECT_EQ(candidates({"jobs", "show", ""}), Words{});
  EXPECT_EQ(candidates({"complete", "--model", ""}), Words{});
  EXPECT_EQ(candidates({"completion", ""}), (Words{"bash", "zsh", "fish"}));
}

}  // namespace
}  // namespace tristill::client
