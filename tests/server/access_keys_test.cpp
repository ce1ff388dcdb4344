#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "base/atomic_file.h"
#include "server/access/key_file.h"
#include "server/access/key_store.h"
#include "tests/support/job_fixture.h"

namespace tristill::access {
namespace {

class AccessKeys : public ::testing::Test {
 protected:
  void SetUp() override { open(); }
  void open(const std::string& setting = "") {
    auto opened =
        KeyStore::open({.path = path_, .setting_key = setting, .now = [this] { return now_; }});
    ASSERT_TRUE(opened) << opened.error().message;
    keys_ = std::move(*opened);
  }
  KeyStore::Created make(const Scopes& scopes, std::optional<int64_t> expires_in = std::nullopt) {
    auto made = keys_->create({.name = "n", .scopes = scopes, .expires_in = expires_in});
    EXPECT_TRUE(made) << made.error().message;
    return made ? *made : KeyStore::Created();
  }
  std::string file() const {
    const auto text = read_file(path_);
    return text ? *text : "";
  }

  tests::TemporaryFolder folder_;
  std::filesystem::path path_ = folder_.path() / "keys.json";
  int64_t now_ = 1790000000;
  std::unique_ptr<KeyStore> keys_;
};

TEST_F(AccessKeys, WithoutAKeyTheDaemonIsOpen) {
  EXPECT_TRUE(keys_->is_open());
  EXPECT_FALSE(keys_->find("tsk-x"));
  make({Scope::admin});
  EXPECT_FALSE(keys_->is_open());
}

TEST_F(AccessKeys, AKeyIsFoundByItsSecretAndNothingElse) {
  const auto first = make({Scope::admin}), second = make({Scope::infer, Scope::train});
  EXPECT_EQ(first.secret.size(), 4 + 64U);
  EXPECT_TRUE(first.secret.starts_with("tsk-"));
  EXPECT_EQ(keys_->find(first.secret)->id, first.key.id);
  EXPECT_EQ(keys_->find(second.secret)->scopes, (Scopes{Scope::infer, Scope::train}));
  for (const std::string& wrong : {std::string(), first.key.id, first.secret + "0",
                                   first.secret.substr(0, 67), to_hex(first.key.hash)}) {
    EXPECT_FALSE(keys_->find(wrong)) << wrong;
  }
}

TEST_F(AccessKeys, TheFileHoldsHashesForItsOwnerAlone) {
  const auto made = make({Scope::admin});
  EXPECT_EQ(file().find(made.secret), std::string::npos);
  EXPECT_EQ(file().find(made.secret.substr(4)), std::string::npos);
  EXPECT_NE(file().find(to_hex(sha256(made.secret))), std::string::npos);
  struct stat there{};
  ASSERT_EQ(::stat(path_.c_str(), &there), 0);
  EXPECT_EQ(there.st_mode & 0777U, 0600U);
}

TEST_F(AccessKeys, KeysOutliveTheStore) {
  const auto made = keys_->create({.name = "caf\xc3\xa9 \"x\"",
                                   .scopes = {Scope::admin, Scope::infer},
                                   .rates = {.requests_per_minute = 5, .tokens_per_minute = 7}});
  ASSERT_TRUE(made);
  const auto passing = make({Scope::train}, 60);
  open();
  const auto found = keys_->find(made->secret);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->id, made->key.id);
  EXPECT_EQ(found->name, "caf\xc3\xa9 \"x\"");
  EXPECT_EQ(found->scopes, (Scopes{Scope::admin, Scope::infer}));
  EXPECT_EQ(found->created, now_);
  EXPECT_EQ(found->rates.requests_per_minute, 5U);
  EXPECT_EQ(found->rates.tokens_per_minute, 7U);
  EXPECT_EQ(keys_->find(passing.secret)->expires_at, now_ + 60);
}

TEST_F(AccessKeys, AnExpiredKeyIsUnknown) {
  make({Scope::admin});
  const auto made = make({Scope::infer}, 60);
  now_ += 59;
  EXPECT_TRUE(keys_->find(made.secret));
  now_ += 1;
  EXPECT_FALSE(keys_->find(made.secret));
}

TEST_F(AccessKeys, NobodyLocksThemselvesOut) {
  for (const Scopes& scopes : {Scopes{Scope::infer}, Scopes{Scope::infer, Scope::train}}) {
    const auto refused = keys_->create({.name = "n", .scopes = scopes});
    EXPECT_EQ(refused ? "" : refused.error().param, "scopes");
  }
  EXPECT_FALSE(keys_->create({.name = "n", .scopes = {Scope::admin}, .expires_in = 9}));
  const auto admin = make({Scope::admin}), user = make({Scope::infer});
  EXPECT_EQ(keys_->remove(admin.key.id).error().code, ErrorCode::conflict);
  EXPECT_TRUE(keys_->remove(user.key.id));
  EXPECT_TRUE(keys_->remove(admin.key.id));
  EXPECT_TRUE(keys_->is_open());
  EXPECT_EQ(keys_->remove(admin.key.id).error().code, ErrorCode::not_found);
}

TEST_F(AccessKeys, TheSettingsKeyHasAllScopesAndStaysOutOfTheFile) {
  open("from-the-settings");
  EXPECT_FALSE(keys_->is_open());
  const auto found = keys_->find("from-the-settings");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->scopes.size(), kScopes.size());
  make({Scope::infer});  // no admin of the file's is needed
  EXPECT_EQ(keys_->remove(std::string(kSettingKeyId)).error().code, ErrorCode::conflict);
  EXPECT_EQ(file().find(to_hex(sha256("from-the-settings"))), std::string::npos);
  ASSERT_TRUE(keys_->reload());
  EXPECT_TRUE(keys_->find("from-the-settings"));
  ASSERT_TRUE(keys_->reload("another"));
  EXPECT_FALSE(keys_->find("from-the-settings"));
  EXPECT_TRUE(keys_->find("another"));
}

TEST_F(AccessKeys, ReloadTakesWhatOthersWrote) {
  const auto mine = make({Scope::admin});
  std::string secret;
  {
    auto other = KeyStore::open({.path = path_});
    ASSERT_TRUE(other);
    secret = (*other)->create({.name = "n", .scopes = {Scope::infer}})->secret;
    ASSERT_TRUE((*other)->create({.name = "n", .scopes = {Scope::admin}}));
    ASSERT_TRUE((*other)->remove(mine.key.id));
  }
  EXPECT_FALSE(keys_->find(secret));
  ASSERT_TRUE(keys_->reload());
  EXPECT_TRUE(keys_->find(secret));
  EXPECT_FALSE(keys_->find(mine.secret));
}

TEST_F(AccessKeys, ADamagedFileIsNoOpenDoor) {
  const auto mine = make({Scope::admin});
  const std::string good = file();
  for (const std::string& text :
       {std::string(), std::string("{"), std::string("[]"), std::string("{}"),
        good.substr(0, good.size() / 2), std::string(R"({"version": 2, "keys": []})"),
        std::string(R"({"version": 1, "keys": [{"id": "key_1"}]})")}) {
    std::ofstream(path_, std::ios::trunc) << text;
    EXPECT_EQ(keys_->reload().error().code, ErrorCode::corrupt) << text;
    EXPECT_TRUE(keys_->find(mine.secret));
    EXPECT_FALSE(KeyStore::open({.path = path_})) << text;
  }
  auto changed = nlohmann::json::parse(good);
  for (const auto& [field, value] :
       {std::pair<std::string, nlohmann::json>("sha256", std::string(64, 'g')),
        {"sha256", "ab"},
        {"scopes", nlohmann::json::array({"root"})},
        {"scopes", nlohmann::json::array()},
        {"surprise", 1},
        {"created", -1},
        {"id", "../x"}}) {
    auto one = changed;
    one["keys"][0][field] = value;
    const auto parsed = parse_key_file(one.dump(), "f");
    EXPECT_FALSE(parsed) << field << value;
    const std::string reason = parsed ? "" : parsed.error().message;
    EXPECT_NE(reason.find(field), std::string::npos) << reason;
  }
}

TEST_F(AccessKeys, AGuardedDaemonIsNeverWithoutAKey) {
  EXPECT_FALSE(keys_->must_guard());
  const auto made = make({Scope::admin});
  ASSERT_TRUE(keys_->must_guard());
  EXPECT_EQ(keys_->remove(made.key.id).error().code, ErrorCode::conflict);
  std::filesystem::remove(path_);
  EXPECT_EQ(keys_->reload().error().code, ErrorCode::unavailable);
  EXPECT_TRUE(keys_->find(made.secret));
}

TEST_F(AccessKeys, AFullDiskMakesNoKey) {
  make({Scope::admin});
  {
    const tests::FullDisk full;
    EXPECT_EQ(keys_->create({.name = "n", .scopes = {Scope::infer}}).error().code,
              ErrorCode::resource_exhausted);
  }
  EXPECT_EQ(keys_->list().size(), 1U);
  open();
  EXPECT_EQ(keys_->list().size(), 1U);
}

TEST_F(AccessKeys, ThereIsAMostOfKeys) {
  std::vector<Key> many(KeyStore::kMaxKeys);
  for (size_t i = 0; i < many.size(); ++i) {
    many[i] = {.id = "key_" + std::to_string(i),
               .name = std::string(100, '\x7e'),
               .scopes = {Scope::admin}};
  }
  ASSERT_TRUE(write_file_atomically(path_, key_file_text(many)));
  ASSERT_TRUE(keys_->reload());
  EXPECT_EQ(keys_->create({.name = "n", .scopes = {Scope::admin}}).error().code,
            ErrorCode::conflict);
}

TEST(AccessKeyRequest, WrongFieldsAreNamed) {
  const std::vector<std::pair<std::string, std::string>> wrong = {
      {R"({"scopes": ["infer"]})", "name"},
      {R"({"name": "", "scopes": ["infer"]})", "name"},
      {R"({"name": "a\nb", "scopes": ["infer"]})", "name"},
      {R"({"name": 1, "scopes": ["infer"]})", "name"},
      {R"({"name": "n"})", "scopes"},
      {R"({"name": "n", "scopes": []})", "scopes"},
      {R"({"name": "n", "scopes": "infer"})", "scopes"},
      {R"({"name": "n", "scopes": ["root"]})", "scopes"},
      {R"({"name": "n", "scopes": ["infer"], "expires_in": 0})", "expires_in"},
      {R"({"name": "n", "scopes": ["infer"], "requests_per_minute": 0})", "requests_per_minute"},
      {R"({"name": "n", "scopes": ["infer"], "tokens_per_minute": 1e30})", "tokens_per_minute"},
      {R"({"name": "n", "scopes": ["infer"], "key": "tsk-mine"})", "key"},
  };
  for (const auto& [body, field] : wrong) {
    const auto parsed = parse_key_request(body);
    EXPECT_EQ(parsed ? "" : parsed.error().param, field) << body;
  }
  const auto parsed = parse_key_request(
      R"({"name": "n", "scopes": ["infer", "train"], "expires_in": 5, "tokens_per_minute": 9})");
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->scopes, (Scopes{Scope::infer, Scope::train}));
  EXPECT_EQ(parsed->expires_in, 5);
  EXPECT_EQ(parsed->rates.tokens_per_minute, 9U);
}

}  // namespace
}  // namespace tristill::access
