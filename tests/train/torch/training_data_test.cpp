// What a train job makes of its data before the first step, and what it tells of it.
#include "train/run/training_data.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "base/atomic_file.h"
#include "base/sha256.h"
#include "model/format/model_file.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/test_model.h"
#include "train/data/corpus.h"
#include "train/run/phase_progress.h"
#include "train/trace/shard.h"

namespace tristill::train {
namespace {

std::string function_of(int i) {
  std::string text;
  for (int line = 0; line < 12; ++line) {
    const std::string n = std::to_string(i * 100 + line);
    text += "def name_" + n + "(left_" + n + ", right):\n    return left_" + n + " * " + n + "\n";
  }
  return text;
}

class TrainingDataTest : public ::testing::Test {
 protected:
  TrainingDataTest() {
    const auto model = test::random_model({.seed = 1});
    const std::string tokenizer = (folder_.path() / "tokenizer.gguf").string();
    EXPECT_TRUE(write_model_file(tokenizer, model, *test::tiny_tokenizer(), {}));
    std::filesystem::create_directories(directory_.root);
    file_.train().model = model.config;
    file_.train().data.held_out = 0.2;
    file_.tokenizer_model = tokenizer;
    file_.corpora = {{{.name = "code"}, (folder_.path() / "code").string()}};
    for (int i = 0; i < 40; ++i) {
      folder_.write("code/m" + std::to_string(i) + ".py", function_of(i));
    }
  }

  Result<TrainingData> prepare() {
    EventLog events(directory_.events());
    auto data = prepare_data(directory_, file_, torch::kCPU, events);
    if (data) {
      EXPECT_TRUE(keep_manifest(directory_, data->manifest, events));
    }
    return data;
  }

  std::vector<job::Event> events() const {
    std::vector<job::Event> found;
    std::istringstream lines(*read_file(directory_.events()));
    for (std::string line; std::getline(lines, line);) {
      const auto event = job::parse_event(line);
      EXPECT_TRUE(event);
      if (event) found.push_back(*event);
    }
    return found;
  }
  std::vector<job::Event> events_with(const std::string& message) const {
    auto found = events();
    std::erase_if(found, [&](const job::Event& event) { return event.message != message; });
    return found;
  }
  std::string manifest() const { return *read_file(directory_.data_manifest()); }

  tests::TemporaryFolder folder_;
  job::JobDirectory directory_{folder_.path() / "job"};
  job::JobFile file_;
};

TEST_F(TrainingDataTest, TheManifestNamesEachFileAndItsDigestIsTheProvenance) {
  folder_.write("code/LICENSE",
                "This is free and unencumbered software released into the public domain.");
  const auto data = prepare();
  ASSERT_TRUE(data) << data.error().message;
  EXPECT_EQ(data->manifest, manifest());
  std::istringstream lines(manifest());
  size_t n_train = 0, n_held_out = 0;
  for (std::string text; std::getline(lines, text);) {
    const auto line = nlohmann::json::parse(text);
    const auto bytes = read_file(folder_.path() / "code" / line.at("path").get<std::string>());
    ASSERT_TRUE(bytes);
    EXPECT_EQ(line.at("sha256"), to_hex(sha256(*bytes)));
    EXPECT_EQ(line.at("bytes"), bytes->size());
    EXPECT_EQ(line.at("license"), "Unlicense");
    n_train += line.at("split") == "train" ? 1 : 0;
    n_held_out += line.at("split") == "held_out" ? 1 : 0;
  }
  EXPECT_EQ(n_train + n_held_out, 40U);
  EXPECT_EQ(data->sources[0].documents(), n_train);
  EXPECT_EQ(data->held_out.documents(), n_held_out);
  const auto told = events_with("read corpus code");
  ASSERT_EQ(told.size(), 1U);
  EXPECT_EQ(told[0].numbers.at("documents"), static_cast<double>(n_train));
  EXPECT_EQ(told[0].numbers.at("held_out_documents"), static_cast<double>(n_held_out));
  EXPECT_EQ(told[0].numbers.at("license Unlicense"), 40);
  EXPECT_EQ(told[0].numbers.at("skipped_near_duplicate"), 0);
}

TEST_F(TrainingDataTest, CopiesOfHeldOutFilesAreLeftOutUnlessAskedFor) {
  // The same function under another comment in each of two corpora.
  std::string own = "own.py";
  while (is_held_out(own, 0.2)) own = "x" + own;
  folder_.write("more/" + own, "value = 1\n");
  file_.corpora.push_back({{.name = "more"}, (folder_.path() / "more").string()});
  size_t n_copies = 0;
  for (int i = 0; i < 40; ++i) {
    if (!is_held_out("m" + std::to_string(i) + ".py", 0.2)) continue;
    std::string copy = "copy" + std::to_string(i) + ".py";
    while (is_held_out(copy, 0.2)) copy = "x" + copy;
    folder_.write("more/" + copy, "# a copy\n" + function_of(i));
    ++n_copies;
  }
  ASSERT_GT(n_copies, 3U);
  const auto data = prepare();
  ASSERT_TRUE(data) << data.error().message;
  EXPECT_EQ(data->sources[1].documents(), 1U);
  const auto told = events_with("read corpus more");
  EXPECT_EQ(told.at(0).numbers.at("skipped_near_duplicate"), static_cast<double>(n_copies));
  EXPECT_NE(manifest().find("\"split\":\"skipped\",\"reason\":\"near_duplicate\""),
            std::string::npos);

  file_.train().data.near_duplicate = 0;
  const auto with_copies = prepare();
  ASSERT_TRUE(with_copies);
  EXPECT_EQ(with_copies->sources[1].documents(), n_copies + 1);
  // The second run of this job found other data than the first, and said so.
  const auto warnings = events_with(
      "the data are not those of this job's earlier run; compare data-manifest.jsonl "
      "and data-manifest.before.jsonl");
  EXPECT_EQ(warnings.size(), 1U);
  EXPECT_EQ(*read_file(directory_.data_manifest_before()), data->manifest);
  EXPECT_EQ(manifest(), with_copies->manifest);

  std::filesystem::remove(folder_.path() / "more" / own);
  file_.train().data.near_duplicate = 0.7;
  const auto nothing = prepare();
  ASSERT_FALSE(nothing);
  EXPECT_EQ(nothing.error().param, "data.near_duplicate");
  EXPECT_NE(nothing.error().message.find("corpus more"), std::string::npos);
}

TEST_F(TrainingDataTest, LinesAreOneSourceWithLessons) {
  std::string lines;
  for (int i = 0; i < 30; ++i) {
    const std::string n = std::to_string(i);
    lines +=
        "{\"prompt\": \"add one to " + n + "\", \"output\": \"" + std::to_string(i + 1) + "\"}\n";
  }
  folder_.write("talk/a.jsonl", lines + "{\"text\": \"numbers\"}\n");
  file_.corpora = {{{.name = "talk", .format = job::CorpusFormat::jsonl, .extensions = {".jsonl"}},
                    (folder_.path() / "talk").string()}};
  file_.train().data.near_duplicate = 0;
  const auto data = prepare();
  ASSERT_TRUE(data) << data.error().message;
  EXPECT_EQ(data->sources[0].documents() + data->held_out.documents(), 31U);
  EXPECT_EQ(data->sources[0].lessons.size(), data->sources[0].tokens.size());
  EXPECT_TRUE(data->sources[0].is_chat(0));
  EXPECT_NE(manifest().find("\"split\":\"mixed\""), std::string::npos);

  folder_.write("talk/b.jsonl", "{}");
  const auto bad = prepare();
  ASSERT_FALSE(bad);
  EXPECT_EQ(bad.error().param, "data.corpora");
  EXPECT_NE(bad.error().message.find("b.jsonl line 1"), std::string::npos);
}

TEST_F(TrainingDataTest, TracesOfAnotherTokenizerAreRefused) {
  trace::Record record;
  record.tokenizer = std::string(64, 'a');
  record.tokens = {5, 6, 7};
  record.top_logprobs.resize(3);
  const auto shard = folder_.path() / "shard";
  ASSERT_TRUE(trace::append_records(shard, std::vector{record}));
  file_.trace_shards = {shard.string()};
  const auto refused = prepare();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::invalid_argument);
  EXPECT_EQ(refused.error().param, "data.traces");
  EXPECT_NE(refused.error().message.find(record.tokenizer), std::string::npos);
  EXPECT_NE(refused.error().message.find("set tokenizer.from_model"), std::string::npos);
}

TEST_F(TrainingDataTest, TraceShardsAreInTheManifest) {
  trace::Record record;
  record.tokenizer = test::tiny_tokenizer()->fingerprint();
  record.tokens = {5, 6, 7};
  record.top_logprobs.resize(3);
  const auto shard = folder_.path() / "shard";
  ASSERT_TRUE(trace::append_records(shard, std::vector{record}));
  file_.trace_shards = {shard.string()};
  const auto data = prepare();
  ASSERT_TRUE(data) << data.error().message;
  const std::string bytes = *read_file(shard);
  EXPECT_TRUE(manifest().ends_with(
      "{\"corpus\":\"traces\",\"path\":\"shard\",\"sha256\":\"" + to_hex(sha256(bytes)) +
      "\",\"bytes\":" + std::to_string(bytes.size()) + ",\"split\":\"train\"}\n"));
}

TEST_F(TrainingDataTest, TracesThatRepeatHeldOutTextAreLeftOutUnlessAskedFor) {
  const auto& tokenizer = *test::tiny_tokenizer();
  std::vector<trace::Record> records;
  size_t n_held_out = 0;
  for (int i = 0; i < 40; ++i) {
    n_held_out += is_held_out("m" + std::to_string(i) + ".py", 0.2) ? 1 : 0;
    // A window of the file, as a long one is scored.
    const std::string text = function_of(i);
    trace::Record record;
    record.tokenizer = tokenizer.fingerprint();
    record.tokens = tokenizer.encode(text.substr(text.size() / 4, text.size() / 2));
    record.top_logprobs.resize(record.tokens.size());
    records.push_back(std::move(record));
  }
  ASSERT_GT(n_held_out, 3U);
  // What a training document has too is no leak: one of the held-out pieces is in this one.
  std::string own = "own.py";
  while (is_held_out(own, 0.2)) own = "x" + own;
  std::string text = "# Some functions of another module, and much that is only here.\n";
  for (int i = 0; i < 40; ++i) {
    if (!is_held_out("m" + std::to_string(i) + ".py", 0.2)) continue;
    for (int j = 100; j < 105; ++j) text += function_of(j);
    text += function_of(i);
    break;
  }
  folder_.write("code/" + own, text);
  --n_held_out;
  const auto shard = folder_.path() / "shard";
  ASSERT_TRUE(trace::append_records(shard, records));
  file_.trace_shards = {shard.string()};
  auto data = prepare();
  ASSERT_TRUE(data) << data.error().message;
  EXPECT_EQ(data->sources.at(1).documents(), 40 - n_held_out);
  EXPECT_NE(manifest().find("\"near_duplicates\":" + std::to_string(n_held_out)),
            std::string::npos);
  EXPECT_EQ(events_with("traces left out because they repeat held-out documents: " +
                        std::to_string(n_held_out))
                .size(),
            1U);

  file_.train().data.near_duplicate = 0;
  data = prepare();
  ASSERT_TRUE(data) << data.error().message;
  EXPECT_EQ(data->sources.at(1).documents(), 40U);
}

TEST_F(TrainingDataTest, TracesWithNothingToLearnAreRefused) {
  trace::Record record;
  record.tokenizer = test::tiny_tokenizer()->fingerprint();
  record.tokens = {5};
  record.top_logprobs.resize(1);
  const auto shard = folder_.path() / "shard";
  ASSERT_TRUE(trace::append_records(shard, std::vector{record}));
  file_.trace_shards = {shard.string()};
  file_.corpora.clear();
  const auto refused = prepare();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::invalid_argument);
  EXPECT_EQ(refused.error().param, "data.traces");
}

// As repositories have them among their fixtures.
TEST_F(TrainingDataTest, LinksOfACorpusAreNotFollowed) {
  std::filesystem::create_symlink("loop.py", folder_.path() / "code" / "loop.py");
  std::filesystem::create_symlink("nowhere.py", folder_.path() / "code" / "dangling.py");
  std::filesystem::create_directory_symlink("..", folder_.path() / "code" / "up");
  const auto data = prepare();
  ASSERT_TRUE(data) << data.error().message;
  EXPECT_EQ(data->sources[0].documents() + data->held_out.documents(), 40U);
}

TEST_F(TrainingDataTest, EachPhaseIsTold) {
  file_.tokenizer_model.clear();
  file_.train().tokenizer.vocab_size = 320;
  const auto data = prepare();
  ASSERT_TRUE(data) << data.error().message;
  std::vector<std::string> phases;
  for (const job::Event& event : events()) {
    if (event.type != job::EventType::progress) continue;
    const std::string phase = event.texts.at("phase");
    if (phases.empty() || phases.back() != phase) phases.push_back(phase);
  }
  EXPECT_EQ(phases, (std::vector<std::string>{"reading data", "finding near duplicates",
                                              "training tokenizer", "tokenizing"}));
}

TEST_F(TrainingDataTest, ProgressIsWorkAgainstTimeAtMostTwiceASecond) {
  double now = 100;
  {
    EventLog log(directory_.events());
    PhaseProgress progress(log, "p", 1000, [&] { return now; });
    for (int i = 0; i < 100; ++i) {
      now += 0.1;
      progress.add(5);
    }
  }
  const auto told = events();
  ASSERT_GE(told.size(), 17U);
  ASSERT_LE(told.size(), 21U);
  EXPECT_EQ(told[0].numbers.at("fraction"), 0);
  EXPECT_FALSE(told[0].numbers.contains("eta_seconds"));
  for (size_t i = 1; i < told.size(); ++i) {
    const double fraction = told[i].numbers.at("fraction");
    EXPECT_GT(fraction, told[i - 1].numbers.at("fraction"));
    // 50 units of 1000 a second: 20 seconds in all.
    EXPECT_NEAR(told[i].numbers.at("eta_seconds"), 20 * (1 - fraction), 0.01);
  }
}

}  // namespace
}  // namespace tristill::train
