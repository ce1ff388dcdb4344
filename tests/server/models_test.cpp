#include <fstream>
#include <thread>

#include "tests/support/served_model.h"

namespace tristill::models {
namespace {

using Models = tests::ServedModelTest;

TEST_F(Models, AreListedWithWhatClientsRead) {
  const auto answer = ask("GET", "/v1/models");
  EXPECT_EQ(answer.body["object"], "list");
  ASSERT_EQ(answer.body["data"].size(), 1U);
  const auto& model = answer.body["data"][0];
  EXPECT_EQ(model["id"], "tiny");
  EXPECT_EQ(model["object"], "model");
  EXPECT_EQ(model["owned_by"], "tristill");
  EXPECT_GT(model["created"], 1700000000);
  EXPECT_EQ(model["max_model_len"], 256);
  EXPECT_GT(model["meta"]["n_params"], 100000);
  EXPECT_GT(model["meta"]["weight_bytes"], 10000);
  EXPECT_EQ(model["meta"]["tokenizer"], tokenizer_->fingerprint());
  EXPECT_EQ(model["meta"]["provenance"]["job"], "j-tiny");
}

TEST_F(Models, AreFoundByNameOnly) {
  EXPECT_EQ(ask("GET", "/v1/models/tiny").body["id"], "tiny");
  const auto answer = ask("GET", "/v1/models/some/other");
  EXPECT_EQ(answer.status, 404);
  EXPECT_EQ(answer.body["error"]["code"], "model_not_found");
}

TEST_F(Models, APublishedModelReplacesItsNamesakeForNewRequestsOnly) {
  const auto before = registry_.exact("tiny");
  const std::string body =
      R"({"prompt":"x","max_tokens":200,"ignore_eos":true,"stream":true,"seed":1})";
  const auto running = call("POST", "/v1/completions", body);
  serve("tiny", 2);
  const auto after = registry_.exact("tiny");
  EXPECT_NE(before->model->fingerprint, after->model->fingerprint);
  EXPECT_EQ(registry_.list().size(), 1U);
  tests::RecordingStream writer;
  running.stream(writer);
  EXPECT_NE(writer.text().find(before->model->fingerprint), std::string::npos);
  EXPECT_EQ(writer.text().find(after->model->fingerprint), std::string::npos);
  EXPECT_NE(writer.text().find("[DONE]"), std::string::npos);
}

TEST_F(Models, ADamagedFileLeavesTheServedModelAlone) {
  const auto before = registry_.exact("tiny");
  const auto path = folder_.path() / "broken.gguf";
  std::ofstream(path) << "GGUF and then nothing";
  const auto done = registry_.publish("tiny", path);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, ErrorCode::corrupt);
  EXPECT_EQ(registry_.exact("tiny"), before);
  EXPECT_EQ(registry_.publish("new", folder_.path() / "none.gguf").error().code,
            ErrorCode::not_found);
}

TEST_F(Models, ARemovedModelEndsItsRequestsAndTakesNoNewOnes) {
  serve("other", 2);
  const auto response = call("POST", "/v1/completions",
                             R"({"model":"tiny","prompt":"x",)"
                             R"("max_tokens":200,"ignore_eos":true,"stream":true,"seed":1})");
  const std::weak_ptr<ServedModel> watched = registry_.exact("tiny");
  const auto answer = ask("DELETE", "/v1/models/tiny");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body, nlohmann::json({{"id", "tiny"}, {"object", "model"}, {"deleted", true}}));
  EXPECT_EQ(complete({{"model", "tiny"}, {"prompt", "x"}}).body["model"], "other");
  EXPECT_EQ(ask("GET", "/v1/models/tiny").status, 404);
  EXPECT_FALSE(watched.expired());
  tests::RecordingStream writer;
  response.stream(writer);
  EXPECT_NE(writer.text().find("[DONE]"), std::string::npos);
  EXPECT_NE(writer.text().find("\"length\""), std::string::npos);
}

TEST_F(Models, AModelIsFreedWithItsLastRequest) {
  std::weak_ptr<ServedModel> watched = registry_.exact("tiny");
  complete({{"prompt", "x"}, {"max_tokens", 1}});
  ASSERT_TRUE(registry_.remove("tiny"));
  EXPECT_TRUE(watched.expired());
  EXPECT_TRUE(registry_.idle());
  EXPECT_EQ(registry_.remove("tiny").error().code, ErrorCode::not_found);
}

TEST_F(Models, TotalsGoOnGrowingWhenAModelIsReplacedOrRemoved) {
  const auto steps = [this] {
    const auto all = registry_.totals();
    return all.size() == 1 ? all[0].stats.steps : 0;
  };
  const auto step = [&] { complete({{"prompt", "x"}, {"max_tokens", 5}, {"ignore_eos", true}}); };
  step();
  ASSERT_TRUE(tests::until([&] { return registry_.idle(); }));
  const uint64_t first = steps();
  EXPECT_GT(first, 0U);
  serve("tiny", 2);
  EXPECT_EQ(steps(), first);
  step();
  ASSERT_TRUE(tests::until([&] { return registry_.idle(); }));
  const uint64_t second = steps();
  EXPECT_GT(second, first);
  ASSERT_TRUE(registry_.remove("tiny"));
  EXPECT_EQ(steps(), second);
  EXPECT_EQ(registry_.totals()[0].stats.kv_tokens_total, 0U);
}

TEST_F(Models, AreAddedFromTheFolderByARequest) {
  tests::write_model(folder_.path(), "second", 2);
  const auto answer = ask("POST", "/models", R"({"path":"second.gguf"})");
  EXPECT_EQ(answer.status, 200) << answer.body;
  EXPECT_EQ(answer.body["id"], "second");
  EXPECT_EQ(answer.body["meta"]["provenance"]["job"], "j-second");
  EXPECT_EQ(complete({{"model", "second"}, {"prompt", "x"}}).body["model"], "second");
  const auto renamed = ask("POST", "/models", R"({"name":"by-hand","path":"second.gguf"})");
  EXPECT_EQ(renamed.body["id"], "by-hand");
  EXPECT_EQ(registry_.list().size(), 3U);
}

TEST_F(Models, AreSwappedByARequestWhileTheirRequestsRun) {
  const auto before = registry_.exact("tiny");
  tests::write_model(folder_.path(), "tiny", 9);
  EXPECT_EQ(ask("POST", "/models", R"({"path":"tiny.gguf"})").status, 200);
  EXPECT_NE(registry_.exact("tiny")->model->fingerprint, before->model->fingerprint);
  EXPECT_EQ(registry_.list().size(), 1U);
}

TEST_F(Models, PathsThatAreNotOfTheFolderAreRefused) {
  for (const char* path :
       {"/etc/passwd", "../tiny.gguf", "x/tiny.gguf", "tiny", ".tiny.gguf", "tiny.bin", ".."}) {
    const auto answer = ask("POST", "/models", nlohmann::json({{"path", path}}).dump());
    EXPECT_EQ(answer.status, 400) << path;
    EXPECT_EQ(answer.body["error"]["param"], "path") << path;
  }
  EXPECT_EQ(ask("POST", "/models", R"({"path":"none.gguf"})").status, 404);
  EXPECT_EQ(registry_.list().size(), 1U);
}

TEST_F(Models, WrongRequestsToAddNameTheField) {
  const auto param = [this](const char* body) {
    const auto answer = ask("POST", "/models", body);
    EXPECT_EQ(answer.status, 400) << body;
    return answer.body["error"]["param"];
  };
  EXPECT_EQ(param(R"({"path":7})"), "path");
  EXPECT_EQ(param(R"({})"), "path");
  EXPECT_EQ(param(R"({"path":"tiny.gguf","name":"a/b"})"), "name");
  EXPECT_EQ(param(R"({"path":"tiny.gguf","name":["a"]})"), "name");
  EXPECT_EQ(param(R"({"path":"tiny.gguf","force":true})"), "force");
  EXPECT_EQ(param("{"), nullptr);
  EXPECT_EQ(ask("POST", "/models", std::string(70000, ' ')).status, 413);
}

TEST_F(Models, ADamagedFileIsNotAdded) {
  std::ofstream(folder_.path() / "broken.gguf") << "GGUF and then nothing";
  EXPECT_EQ(ask("POST", "/models", R"({"path":"broken.gguf"})").status, 422);
  EXPECT_EQ(ask("POST", "/models", R"({"path":"broken.gguf","name":"tiny"})").status, 422);
  EXPECT_EQ(complete({{"prompt", "x"}, {"max_tokens", 1}}).status, 200);
}

// Of several at once under one name, each is either done or told that another is under way.
TEST_F(Models, OneNameIsLoadedByOneRequestAtATime) {
  const auto path = folder_.path() / "tiny.gguf";
  std::atomic<int> done{0}, conflicts{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      const auto result = registry_.try_publish("tiny", path);
      ++(result ? done : conflicts);
      EXPECT_TRUE(result || result.error().code == ErrorCode::conflict);
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_GE(done, 1);
  EXPECT_EQ(done + conflicts, 4);
  EXPECT_TRUE(registry_.try_publish("tiny", path));  // no name stays taken
}

TEST_F(Models, ARemovedModelsFileStaysUnlessAskedFor) {
  EXPECT_EQ(ask("DELETE", "/models/tiny").status, 200);
  EXPECT_TRUE(std::filesystem::exists(folder_.path() / "tiny.gguf"));
  EXPECT_EQ(ask("POST", "/models", R"({"path":"tiny.gguf"})").status, 200);
  EXPECT_EQ(ask("DELETE", "/models/tiny?delete_file=yes").status, 400);
  EXPECT_EQ(ask("DELETE", "/models/tiny?delete_file=true").status, 200);
  EXPECT_FALSE(std::filesystem::exists(folder_.path() / "tiny.gguf"));
  EXPECT_EQ(ask("DELETE", "/models/tiny").status, 404);
}

TEST_F(Models, AFileOutsideTheFolderIsServedByItsNameAndNeverDeleted) {
  const tests::TemporaryFolder elsewhere;
  const auto path = tests::write_model(elsewhere.path(), "named", 3);
  ModelFiles files(registry_, folder_.path(), {path.string()});
  ASSERT_TRUE(files.load_all());
  EXPECT_EQ(files.remove("named", true).error().param, "delete_file");
  EXPECT_NE(registry_.exact("named"), nullptr);
  ASSERT_TRUE(files.remove("named", false));
  EXPECT_EQ(*files.add(std::nullopt, path.string()), "named");
  EXPECT_TRUE(std::filesystem::exists(path));
}

TEST_F(Models, ARescanServesNewSwapsChangedAndRemovesLostFiles) {
  tests::write_model(folder_.path(), "lost", 2);
  ASSERT_TRUE(model_files_.load_all());
  const auto kept = registry_.exact("tiny");
  EXPECT_TRUE(model_files_.rescan({}).served.empty());
  EXPECT_EQ(registry_.exact("tiny"), kept);  // not loaded again
  std::filesystem::remove(folder_.path() / "lost.gguf");
  tests::write_model(folder_.path(), "tiny", 5);
  tests::write_model(folder_.path(), "new", 6);
  std::ofstream(folder_.path() / "broken.gguf") << "GGUF";
  const auto changes = model_files_.rescan({});
  EXPECT_EQ(changes.served, (std::vector<std::string>{"tiny", "new"}));
  EXPECT_EQ(changes.removed, std::vector<std::string>{"lost"});
  EXPECT_EQ(changes.failed, std::vector<std::string>{"broken"});
  EXPECT_NE(registry_.exact("tiny")->model->fingerprint, kept->model->fingerprint);
}

TEST_F(Models, ARescanLeavesARemovedModelRemovedUntilItsFileChanges) {
  ASSERT_TRUE(model_files_.remove("tiny", false));
  EXPECT_TRUE(model_files_.rescan({}).served.empty());
  tests::write_model(folder_.path(), "tiny", 5);
  EXPECT_EQ(model_files_.rescan({}).served, std::vector<std::string>{"tiny"});
}

TEST_F(Models, ADamagedNewVersionLeavesTheOldOneServed) {
  ASSERT_TRUE(model_files_.load_all());
  const auto before = registry_.exact("tiny");
  const auto fresh = folder_.path() / "fresh";
  std::ofstream(fresh) << "GGUF";
  std::filesystem::rename(fresh, folder_.path() / "tiny.gguf");
  EXPECT_EQ(model_files_.rescan({}).failed, std::vector<std::string>{"tiny"});
  EXPECT_EQ(registry_.exact("tiny"), before);
}

TEST_F(Models, AnAliasIsAnswered) {
  serve("other", 2);
  registry_.set_names({.aliases = {{"gpt-3.5-turbo-instruct", "other"}, {"gone", "nothing"}}});
  EXPECT_EQ(complete({{"model", "gpt-3.5-turbo-instruct"}, {"prompt", "x"}}).body["model"],
            "other");
  EXPECT_EQ(ask("GET", "/v1/models/gpt-3.5-turbo-instruct").body["id"], "other");
  const auto refused = complete({{"model", "gone"}, {"prompt", "x"}});
  EXPECT_EQ(refused.status, 404);
  EXPECT_NE(refused.response.body.find("stands for"), std::string::npos);
  const auto list = ask("GET", "/v1/models").body["data"];
  EXPECT_EQ(list[0]["aliases"], std::vector<std::string>{"gpt-3.5-turbo-instruct"});
  EXPECT_EQ(list[1]["aliases"], nlohmann::json::array());
  EXPECT_EQ(ask("DELETE", "/models/gpt-3.5-turbo-instruct").status, 404);
}

TEST_F(Models, UnknownNamesGetWhatThePolicySays) {
  using Unknown = NamePolicy::Unknown;
  const auto found = [this](Unknown unknown, const std::string& name) {
    registry_.set_names({.unknown = unknown});
    const auto served = registry_.find(name);
    return served ? (*served)->name : "";
  };
  EXPECT_EQ(found(Unknown::automatic, "x"), "tiny");
  EXPECT_EQ(found(Unknown::refuse, "x"), "");
  EXPECT_EQ(found(Unknown::refuse, ""), "tiny");  // none is named: the only one is meant
  serve("other", 2);
  EXPECT_EQ(found(Unknown::automatic, "x"), "");
  EXPECT_EQ(found(Unknown::automatic, ""), "");
  EXPECT_EQ(found(Unknown::serve, "x"), "other");
  EXPECT_EQ(found(Unknown::serve, ""), "other");
  EXPECT_EQ(found(Unknown::serve, "tiny"), "tiny");
}

TEST_F(Models, NoneIsAddedWhileTheDaemonStops) {
  registry_.drain();
  EXPECT_EQ(ask("POST", "/models", R"({"path":"tiny.gguf","name":"late"})").status, 503);
  EXPECT_EQ(registry_.exact("late"), nullptr);
}

TEST_F(Models, NoneAtAllIsNotFound) {
  Registry empty({});
  const auto found = empty.find("x");
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code, ErrorCode::not_found);
}

}  // namespace
}  // namespace tristill::models
