#include "client/settings.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <map>

#include "client/failure.h"

namespace tristill::client {
namespace {

namespace fs = std::filesystem;

class SettingsTest : public testing::Test {
 protected:
  SettingsTest() {
    folder_ = fs::temp_directory_path() / ("tristill_settings_" + std::to_string(getpid()));
    fs::remove_all(folder_);
    fs::create_directories(folder_ / "tristill");
    variables_["XDG_CONFIG_HOME"] = folder_.string();
    variables_["HOME"] = "/home/nobody";
  }
  ~SettingsTest() override { fs::remove_all(folder_); }

  void write(const std::string& name, const std::string& text) {
    std::ofstream(folder_ / "tristill" / name) << text;
  }
  Settings read(const Flags& flags = {}) {
    return read_settings(flags, [this](const char* name) -> std::optional<std::string> {
      const auto found = variables_.find(name);
      if (found == variables_.end() || found->second.empty()) return std::nullopt;
      return found->second;
    });
  }
  // How it fails: the exit code, and the message.
  std::pair<int, std::string> failure(const Flags& flags = {}) {
    try {
      read(flags);
    } catch (const Failure& failure) {
      return {failure.exit, failure.message};
    }
    return {0, ""};
  }

  fs::path folder_;
  std::map<std::string, std::string> variables_;
};

constexpr const char* kTwoProfiles = R"({"profile": "home", "profiles": {
  "home": {"server": "https://home:8443", "api_key_file": "home.key", "model": "big",
           "ca_file": "~/ca.pem"},
  "work": {"server": "http://work"}}})";

TEST_F(SettingsTest, WithoutAnythingTheDefaultsHold) {
  const Settings settings = read();
  EXPECT_EQ(settings.server.value, "http://127.0.0.1:8080");
  EXPECT_EQ(settings.server.origin, "default");
  EXPECT_EQ(settings.api_key.value, "");
  EXPECT_FALSE(settings.config_found);
  EXPECT_EQ(settings.config_file, folder_ / "tristill/config.json");
}

TEST_F(SettingsTest, TheFilesProfileGivesServerKeyModelAndCertificates) {
  write("config.json", kTwoProfiles);
  write("home.key", "sk-home\nnot this line\n");
  const Settings settings = read();
  EXPECT_EQ(settings.profile.value, "home");
  EXPECT_EQ(settings.server.value, "https://home:8443");
  EXPECT_EQ(settings.server.origin, "profile home");
  EXPECT_EQ(settings.api_key.value, "sk-home");
  EXPECT_EQ(settings.model.value, "big");
  EXPECT_EQ(settings.ca_file.value, "/home/nobody/ca.pem");
}

TEST_F(SettingsTest, FlagsWinOverEnvironmentOverProfile) {
  write("config.json", kTwoProfiles);
  write("home.key", "sk-home");
  variables_["TRISTILL_MODEL_NAME"] = "from-environment";
  variables_["TRISTILL_API_KEY"] = "sk-environment";
  EXPECT_EQ(read().model.value, "from-environment");
  EXPECT_EQ(read().model.origin, "environment TRISTILL_MODEL_NAME");
  EXPECT_EQ(read().api_key.value, "sk-environment");
  Flags flags;
  flags.model = "from-flag";
  flags.api_key = "";
  EXPECT_EQ(read(flags).model.value, "from-flag");
  EXPECT_EQ(read(flags).model.origin, "flag --model");
  EXPECT_EQ(read(flags).api_key.value, "");
}

TEST_F(SettingsTest, FlagAndEnvironmentChooseTheProfile) {
  write("config.json", kTwoProfiles);
  write("home.key", "sk-home");
  variables_["TRISTILL_PROFILE"] = "work";
  EXPECT_EQ(read().server.value, "http://work");
  EXPECT_EQ(read().api_key.value, "");
  Flags flags;
  flags.profile = "home";
  EXPECT_EQ(read(flags).server.value, "https://home:8443");
}

TEST_F(SettingsTest, AProfilesKeyGoesToNoOtherServer) {
  write("config.json", kTwoProfiles);
  write("home.key", "sk-home");
  Flags flags;
  flags.server = "http://elsewhere";
  EXPECT_EQ(read(flags).api_key.value, "");
  EXPECT_NE(read(flags).api_key.origin.find("its own server"), std::string::npos);
  flags.server = "https://home:8443";
  EXPECT_EQ(read(flags).api_key.value, "sk-home");
}

TEST_F(SettingsTest, UnknownKeysAreRefusedByName) {
  write("config.json", R"({"profiles": {"a": {"sever": "http://x"}}})");
  EXPECT_EQ(failure().first, kExitUsage);
  EXPECT_NE(failure().second.find("\"profiles.a.sever\" is unknown"), std::string::npos);
  write("config.json", R"({"api_key": "sk-secret"})");
  EXPECT_EQ(failure().first, kExitUsage);
  EXPECT_NE(failure().second.find("\"api_key\" is unknown"), std::string::npos);
  EXPECT_EQ(failure().second.find("sk-secret"), std::string::npos);
}

TEST_F(SettingsTest, WrongFilesAreRefused) {
  write("config.json", "no json");
  EXPECT_EQ(failure().first, kExitData);
  for (const char* text : {R"({"profile": 1})", R"({"profiles": []})", R"({"profiles": {"a": 1}})",
                           R"({"profiles": {"a": {"server": null}}})"}) {
    write("config.json", text);
    EXPECT_EQ(failure().first, kExitUsage) << text;
  }
}

TEST_F(SettingsTest, AMissingProfileIsToldWithThoseThereAre) {
  write("config.json", kTwoProfiles);
  Flags flags;
  flags.profile = "hone";
  EXPECT_EQ(failure(flags).first, kExitUsage);
  EXPECT_NE(failure(flags).second.find("there are: home, work"), std::string::npos);
  fs::remove(folder_ / "tristill/config.json");
  EXPECT_EQ(failure(flags).first, kExitNotFound);
}

TEST_F(SettingsTest, AMissingOrEmptyKeyFileIsRefused) {
  Flags flags;
  flags.api_key_file = (folder_ / "nothing").string();
  EXPECT_EQ(failure(flags).first, kExitNotFound);
  write("empty", "\nsk\n");
  flags.api_key_file = (folder_ / "tristill/empty").string();
  EXPECT_EQ(failure(flags).first, kExitUsage);
  flags.api_key = "sk";
  EXPECT_EQ(failure(flags).first, kExitUsage);
}

TEST_F(SettingsTest, ARelativeConfigFolderIsIgnored) {
  variables_["XDG_CONFIG_HOME"] = "relative";
  EXPECT_EQ(read().config_file, "/home/nobody/.config/tristill/config.json");
  variables_["HOME"] = "";
  EXPECT_EQ(read().config_file, "");
}

}  // namespace
}  // namespace tristill::client
