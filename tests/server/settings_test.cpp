#include "server/settings.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/support/job_fixture.h"

namespace tristill::server {
namespace {

class SettingsTest : public ::testing::Test {
 protected:
  ~SettingsTest() override {
    for (const std::string& name : variables_) ::unsetenv(name.c_str());
  }
  void variable(const std::string& name, const std::string& value) {
    ::setenv(name.c_str(), value.c_str(), 1);
    variables_.push_back(name);
  }
  std::string file(const std::string& text) {
    const auto path = (folder_.path() / "settings").string();
    std::ofstream(path) << text;
    return path;
  }
  static Result<Settings> read(std::vector<const char*> flags) {
    flags.insert(flags.begin(), "tristilld");
    return read_settings(static_cast<int>(flags.size()), flags.data());
  }
  static Error refused(std::vector<const char*> flags) {
    const auto settings = read(std::move(flags));
    EXPECT_FALSE(settings);
    return settings ? Error{} : settings.error();
  }

  tests::TemporaryFolder folder_;
  std::vector<std::string> variables_;
};

TEST_F(SettingsTest, DefaultsHoldWhenNothingIsGiven) {
  const auto settings = read({});
  ASSERT_TRUE(settings);
  EXPECT_EQ(settings->host, "127.0.0.1");
  EXPECT_EQ(settings->port, 8080);
  EXPECT_EQ(settings->chat_template, "");
  EXPECT_TRUE(settings->models.empty());
  EXPECT_EQ(settings->action, Settings::Action::serve);
  EXPECT_NE(describe(*settings).find("port = 8080    (default)\n"), std::string::npos);
}

TEST_F(SettingsTest, FlagsWinOverTheEnvironmentThatOverTheFile) {
  const std::string path = file(R"({"port": 1, "max_queue": 1, "max_sequences": 1})");
  variable("TRISTILL_MAX_QUEUE", "2");
  variable("TRISTILL_PORT", "2");
  const auto settings = read({"--config", path.c_str(), "--port=3"});
  ASSERT_TRUE(settings) << settings.error().message;
  EXPECT_EQ(settings->port, 3);
  EXPECT_EQ(settings->max_queue, 2U);
  EXPECT_EQ(settings->max_sequences, 1U);
  const std::string shown = describe(*settings);
  EXPECT_NE(shown.find("port = 3    (flag --port)\n"), std::string::npos) << shown;
  EXPECT_NE(shown.find("max_queue = 2    (environment TRISTILL_MAX_QUEUE)\n"), std::string::npos);
  EXPECT_NE(shown.find("max_sequences = 1    (" + path + ")\n"), std::string::npos);
}

TEST_F(SettingsTest, TheFileMayBeNamedByTheEnvironment) {
  variable("TRISTILL_CONFIG", file(R"({"port": 7})"));
  EXPECT_EQ(read({})->port, 7);
}

TEST_F(SettingsTest, ModelsAddUpWithinOneSourceAndReplaceLowerOnes) {
  const std::string path = file(R"({"model": ["a.gguf", "b.gguf"]})");
  EXPECT_EQ(read({"--config", path.c_str()})->models,
            (std::vector<std::string>{"a.gguf", "b.gguf"}));
  const auto settings = read({"--config", path.c_str(), "--model", "c.gguf", "--model=d.gguf"});
  EXPECT_EQ(settings->models, (std::vector<std::string>{"c.gguf", "d.gguf"}));
}

TEST_F(SettingsTest, ListsOfWordsMayStandInOneValueOrInSeveral) {
  using Words = std::vector<std::string>;
  const std::string path = file(R"({"cors_origins": ["https://a.example", "localhost"],
                                    "allowed_hosts": "x,y"})");
  const auto from_file = read({"--config", path.c_str()});
  ASSERT_TRUE(from_file) << from_file.error().message;
  EXPECT_EQ(from_file->cors_origins, (Words{"https://a.example", "localhost"}));
  EXPECT_EQ(from_file->allowed_hosts, (Words{"x", "y"}));
  variable("TRISTILL_ALLOWED_HOSTS", "p,q");
  const auto settings = read({"--config", path.c_str(), "--cors-origins", "*"});
  EXPECT_EQ(settings->cors_origins, Words{"*"});
  EXPECT_EQ(settings->allowed_hosts, (Words{"p", "q"}));
}

TEST_F(SettingsTest, TheModeOfASocketIsOctal) {
  EXPECT_EQ(read({})->socket_mode, "0600");
  EXPECT_EQ(read({"--socket-mode", "660"})->socket_mode, "0660");
  EXPECT_EQ(read({"--socket-mode", "0666"})->socket_mode, "0666");
  for (const char* mode : {"", "66", "668", "1777", "rw-rw----", "00660", "-66"}) {
    EXPECT_EQ(refused({"--socket-mode", mode}).param, "socket_mode") << mode;
  }
}

TEST_F(SettingsTest, AliasesArePairsAndAddUpWithinOneSource) {
  using Aliases = std::vector<std::string>;
  const std::string path = file(R"({"model_alias": ["a=x", "b=y"]})");
  EXPECT_EQ(read({"--config", path.c_str()})->model_aliases, (Aliases{"a=x", "b=y"}));
  variable("TRISTILL_MODEL_ALIAS", "openai/gpt-4=x,c=z");
  EXPECT_EQ(read({"--config", path.c_str()})->model_aliases, (Aliases{"openai/gpt-4=x", "c=z"}));
  const auto settings = read({"--model-alias", "d=x", "--model", "m.gguf", "--model-alias", "e=y"});
  EXPECT_EQ(settings->model_aliases, (Aliases{"d=x", "e=y"}));
  EXPECT_NE(describe(*settings).find("model_alias = d=x, e=y"), std::string::npos);
  for (const char* wrong : {"", "a", "a=", "=x", "a=x,", "a=../x"}) {
    EXPECT_EQ(refused({"--model-alias", wrong}).param, "model_alias") << wrong;
  }
}

TEST_F(SettingsTest, WhatAReloadDoesNotTakeOverIsNamed) {
  const auto before = read({"--port", "1", "--log-level", "info"});
  const auto after = read({"--port", "2", "--log-level", "debug", "--model", "m.gguf",
                           "--model-alias", "a=m", "--max-queue", "7"});
  EXPECT_EQ(settings_for_restart(*before, *after), (std::vector<std::string>{"port", "max_queue"}));
  EXPECT_TRUE(settings_for_restart(*before, *before).empty());
}

TEST_F(SettingsTest, UnknownNamesAreErrors) {
  EXPECT_EQ(refused({"--nonsense"}).code, ErrorCode::invalid_argument);
  EXPECT_NE(refused({"--nonsense"}).message.find("--nonsense"), std::string::npos);
  EXPECT_NE(refused({"file.gguf"}).message.find("file.gguf"), std::string::npos);
  const std::string path = file(R"({"prot": 1})");
  const Error error = refused({"--config", path.c_str()});
  EXPECT_EQ(error.param, "prot");
  EXPECT_NE(error.message.find(path), std::string::npos);
}

TEST_F(SettingsTest, WrongValuesNameTheirOriginAndWhatIsAccepted) {
  for (const char* value : {"", "x", "-1", "65536", "80 ", "1.5", "0x50", "99999999999999999999"}) {
    const Error error = refused({"--port", value});
    EXPECT_EQ(error.param, "port");
    EXPECT_NE(error.message.find("--port"), std::string::npos) << error.message;
    EXPECT_NE(error.message.find("0 to 65535"), std::string::npos) << error.message;
  }
  EXPECT_EQ(refused({"--drain-seconds", "nan"}).param, "drain_seconds");
  EXPECT_EQ(refused({"--drain-seconds", "-1"}).param, "drain_seconds");
  EXPECT_NE(refused({"--isa", "mmx"}).message.find("avx2"), std::string::npos);
  EXPECT_EQ(refused({"--data", ""}).param, "data");
  EXPECT_NE(refused({"--port"}).message.find("needs a value"), std::string::npos);
  variable("TRISTILL_THREADS", "many");
  EXPECT_NE(refused({}).message.find("TRISTILL_THREADS"), std::string::npos);
}

TEST_F(SettingsTest, AFileThatIsNoObjectIsRefused) {
  for (const char* text :
       {"", "[]", "{", "5", R"({"port": true})", R"({"port": {}})", R"({"port": [1, 2]})"}) {
    const std::string path = file(text);
    EXPECT_EQ(refused({"--config", path.c_str()}).code, ErrorCode::invalid_argument) << text;
  }
  EXPECT_EQ(refused({"--config", "/nowhere/settings.json"}).code, ErrorCode::not_found);
}

TEST_F(SettingsTest, KeysAreNeverShownAndNotKeptInTheFile) {
  variable("TRISTILL_API_KEY", "secret-1");
  const auto settings = read({});
  EXPECT_EQ(settings->api_key, "secret-1");
  EXPECT_EQ(describe(*settings).find("secret-1"), std::string::npos);
  EXPECT_NE(describe(*settings).find("api_key = ***"), std::string::npos);
  const std::string path = file(R"({"api_key": "secret-2"})");
  const Error error = refused({"--config", path.c_str()});
  EXPECT_EQ(error.message.find("secret-2"), std::string::npos);
}

TEST_F(SettingsTest, AKeyFileHoldsTheKeyOnItsFirstLine) {
  const std::string path = file("the key\r\nsecond line\n");
  EXPECT_EQ(read({"--api-key-file", path.c_str()})->api_key, "the key");
  const std::string empty = file("\n");
  EXPECT_EQ(refused({"--api-key-file", empty.c_str()}).param, "api_key_file");
  EXPECT_EQ(refused({"--api-key-file", "/nowhere/key"}).code, ErrorCode::not_found);
  EXPECT_EQ(refused({"--api-key-file", path.c_str(), "--api-key", "x"}).param, "api_key_file");
}

TEST_F(SettingsTest, ActionsAreFlags) {
  EXPECT_EQ(read({"--help"})->action, Settings::Action::help);
  EXPECT_EQ(read({"--version"})->action, Settings::Action::version);
  EXPECT_EQ(read({"--print-config", "--port", "1"})->action, Settings::Action::print_config);
  for (const char* flag :
       {"--host", "--port", "--data", "--model", "--api-key-file", "--print-config"}) {
    EXPECT_NE(help_text().find(flag), std::string::npos) << flag;
  }
}

TEST_F(SettingsTest, TheExampleFileHoldsEverySettingWithItsDefault) {
  const auto text = read_file(TRISTILL_SOURCE_DIR "/configs/server.json");
  ASSERT_TRUE(text);
  const auto example = nlohmann::json::parse(*text);
  const auto given = read({"--config", TRISTILL_SOURCE_DIR "/configs/server.json"});
  ASSERT_TRUE(given) << given.error().message;
  const auto defaults = describe(*read({}));
  std::string shown = describe(*given);
  const std::string origin = "    (" TRISTILL_SOURCE_DIR "/configs/server.json)";
  for (size_t at = 0; (at = shown.find(origin)) != std::string::npos;) {
    shown.replace(at, origin.size(), "    (default)");
  }
  EXPECT_EQ(shown, defaults);
  const auto n_settings = static_cast<size_t>(std::count(defaults.begin(), defaults.end(), '\n'));
  EXPECT_EQ(example.size() + 1, n_settings);  // all but the key
}

}  // namespace
}  // namespace tristill::server
