#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <numeric>

#include "tests/support/test_model.h"
#include "train/checkpoint.h"
#include "train/data/corpus.h"
#include "train/data/fim.h"
#include "train/data/packing.h"

namespace tristill::train {
namespace {

namespace fs = std::filesystem;

class ScratchFolder {
 public:
  ScratchFolder() {
    std::string name = (fs::temp_directory_path() / "tristill-XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  ~ScratchFolder() { fs::remove_all(path_); }
  const fs::path& path() const { return path_; }
  void write(const std::string& name, const std::string& text) const {
    fs::create_directories((path_ / name).parent_path());
    std::ofstream(path_ / name) << text;
  }

 private:
  fs::path path_;
};

std::string sample_text(int lines, int seed) {
  std::string text;
  for (int i = 0; i < lines; ++i) {
    text +=
        "def f" + std::to_string(i * 7 + seed) + "(x):\n    return x + " + std::to_string(i) + "\n";
  }
  return text;
}

TEST(Corpus, LeavesOutDuplicatesBinariesAndOtherExtensionsAndKeepsItsSplit) {
  const ScratchFolder folder;
  folder.write("a.py", "x = 1\n");
  folder.write("copy/of_a.py", "x = 1\n");
  folder.write("b.txt", "no");
  folder.write("c.py", std::string("\xff\xfe", 2));
  folder.write("__pycache__/d.py", "y = 2\n");
  for (int i = 0; i < 40; ++i) folder.write("m" + std::to_string(i) + ".py", sample_text(3, i));
  const job::ResolvedCorpus wanted{{.name = "test"}, folder.path().string()};
  const auto corpus = read_corpus(wanted, 0.3);
  ASSERT_TRUE(corpus);
  EXPECT_EQ(corpus->summary.skipped_duplicate, 1U);
  EXPECT_EQ(corpus->summary.skipped_not_text, 1U);
  EXPECT_EQ(corpus->documents.size(), 41U);
  EXPECT_GT(corpus->summary.held_out_files, 3U);
  EXPECT_LT(corpus->summary.held_out_files, 25U);
  const auto again = read_corpus(wanted, 0.3);
  EXPECT_EQ(again->summary.manifest_sha256, corpus->summary.manifest_sha256);
  for (const Document& document : corpus->documents) {
    EXPECT_EQ(document.held_out, is_held_out(document.path, 0.3));
  }
}

TEST(Corpus, AMissingDirectoryIsNamed) {
  const auto corpus = read_corpus({{.name = "gone"}, "/nonexistent/place"}, 0.1);
  ASSERT_FALSE(corpus);
  EXPECT_EQ(corpus.error().code, ErrorCode::not_found);
  EXPECT_NE(corpus.error().message.find("gone"), std::string::npos);
}

TEST(Fim, BothOrdersHoldTheWholeTextAndEndTheMiddle) {
  const auto tokenizer = test::tiny_tokenizer();
  const SpecialTokens& special = tokenizer->special();
  const std::string text = sample_text(20, 1) + "# \xC3\xA9\xE2\x82\xAC end\n";
  for (const FimOrder order : {FimOrder::psm, FimOrder::spm}) {
    for (uint64_t seed = 0; seed < 50; ++seed) {
      RandomStream random(seed, 0);
      const auto ids = fim_tokens(*tokenizer, text, order, 100000, random);
      ASSERT_FALSE(ids.empty());
      EXPECT_EQ(ids.front(), special.fim_prefix);
      EXPECT_EQ(ids.back(), special.eos);
      const auto at = [&](TokenId id) {
        return static_cast<size_t>(std::find(ids.begin(), ids.end(), id) - ids.begin());
      };
      const size_t suffix = at(special.fim_suffix);
      const size_t middle = at(special.fim_middle);
      ASSERT_LT(suffix, middle);
      const std::span<const TokenId> all(ids);
      const std::string first = tokenizer->decode(all.subspan(1, suffix - 1));
      const std::string second = tokenizer->decode(all.subspan(suffix + 1, middle - suffix - 1));
      const std::string third = tokenizer->decode(all.subspan(middle + 1));
      EXPECT_TRUE(order == FimOrder::psm || suffix == 1U);
      EXPECT_EQ(order == FimOrder::psm ? first + third + second : third + second, text);
    }
  }
}

TEST(Fim, NeverExceedsItsRoom) {
  const auto tokenizer = test::tiny_tokenizer();
  const std::string text = sample_text(30, 2);
  for (uint64_t seed = 0; seed < 100; ++seed) {
    RandomStream random(seed, 0);
    const size_t room = 8 + seed;
    EXPECT_LE(fim_tokens(*tokenizer, text, FimOrder::psm, room, random).size(), room);
  }
}

std::vector<TokenSource> two_sources(const Tokenizer& tokenizer) {
  std::vector<TokenSource> sources(2);
  sources[0].name = "a";
  sources[1].name = "b";
  sources[1].weight = 0.5;
  for (int i = 0; i < 9; ++i) sources[0].add_document(tokenizer, sample_text(3 + 5 * i, i));
  for (int i = 0; i < 4; ++i) sources[1].add_document(tokenizer, sample_text(30, 100 + i));
  return sources;
}

TEST(Packing, LabelsAreTheNextTokensOfTheSameSegment) {
  const auto tokenizer = test::tiny_tokenizer();
  BatchStream stream(two_sources(*tokenizer), tokenizer,
                     {.rows = 3, .tokens = 64, .fim_rate = 0.5, .seed = 3});
  for (int n = 0; n < 20; ++n) {
    const Batch batch = stream.next();
    const auto* tokens = batch.tokens.data_ptr<int64_t>();
    const auto* labels = batch.labels.data_ptr<int64_t>();
    const auto* start = batch.segment_start.data_ptr<int32_t>();
    int64_t labelled = 0;
    for (int64_t i = 0; i < 3 * 64; ++i) {
      const int64_t t = i % 64;
      EXPECT_LE(start[i], t);
      EXPECT_TRUE(t == 0 || start[i] >= start[i - 1]);
      if (labels[i] < 0) continue;
      ++labelled;
      const bool continues = t + 1 < 64 && start[i + 1] == start[i] && labels[i + 1] >= 0;
      EXPECT_TRUE(!continues || labels[i] == tokens[i + 1]);
    }
    EXPECT_GT(labelled, 3 * 64 * 3 / 5);
  }
}

TEST(Packing, WithoutFimEveryTokenIsPredictedOncePerEpoch) {
  const auto tokenizer = test::tiny_tokenizer();
  std::vector<TokenSource> sources(1);
  for (int i = 0; i < 5; ++i) sources[0].add_document(*tokenizer, sample_text(4 + i, i));
  std::vector<int> expected(tokenizer->vocab_size());
  for (size_t d = 0; d < sources[0].documents(); ++d) {
    for (size_t j = sources[0].starts[d] + 1; j < sources[0].starts[d + 1]; ++j) {
      ++expected[static_cast<size_t>(sources[0].tokens[j])];
    }
  }
  const auto batches = evaluation_batches(sources[0], *tokenizer, 2, 32, 1 << 20);
  std::vector<int> seen(tokenizer->vocab_size());
  for (const Batch& batch : batches) {
    for (int64_t i = 0; i < batch.labels.numel(); ++i) {
      const int64_t label = batch.labels.data_ptr<int64_t>()[i];
      if (label >= 0) ++seen[static_cast<size_t>(label)];
    }
  }
  EXPECT_EQ(seen, expected);
}

TEST(Packing, ASeekedStreamGoesOnWithTheSameBatches) {
  const auto tokenizer = test::tiny_tokenizer();
  const PackingOptions options{.rows = 2, .tokens = 48, .fim_rate = 0.5, .seed = 5};
  BatchStream straight(two_sources(*tokenizer), tokenizer, options);
  for (int i = 0; i < 37; ++i) straight.next();
  const auto numbers = straight.cursor().to_numbers();
  BatchStream resumed(two_sources(*tokenizer), tokenizer, options);
  resumed.seek(*Cursor::from_numbers(numbers, resumed.sources()));
  for (int i = 0; i < 40; ++i) {
    const Batch a = straight.next();
    const Batch b = resumed.next();
    ASSERT_TRUE(a.tokens.equal(b.tokens)) << i;
    ASSERT_TRUE(a.labels.equal(b.labels)) << i;
  }
  EXPECT_FALSE(Cursor::from_numbers({1, 2}, 2));
}

TEST(Packing, TracesCarryTheTeacherToTheRightToken) {
  const auto tokenizer = test::tiny_tokenizer();
  trace::Record record;
  record.tokens = {5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22};
  record.top_logprobs.resize(record.tokens.size());
  for (size_t i = 1; i < record.tokens.size(); ++i) {
    record.top_logprobs[i] = {{record.tokens[i], -0.1F}, {3, -3.0F}};
  }
  record.top_logprobs[4].clear();
  record.sampling = trace::Sampling::t1;
  record.prompt_tokens = 6;  // 5 to 10 were given, not drawn
  std::vector<TokenSource> sources(1);
  sources[0].add_trace(record);
  BatchStream stream(std::move(sources), tokenizer, {.rows = 1, .tokens = 32, .seed = 1});
  const Batch batch = stream.next();
  ASSERT_EQ(batch.teacher.offsets.size(), batch.teacher.rows.size() + 1);
  EXPECT_EQ(batch.teacher.sampled.size(), batch.teacher.rows.size());
  EXPECT_GE(batch.teacher.rows.size(), 16U);
  for (size_t i = 0; i < batch.teacher.rows.size(); ++i) {
    const int64_t label = batch.labels.data_ptr<int64_t>()[batch.teacher.rows[i]];
    EXPECT_EQ(batch.teacher.ids[batch.teacher.offsets[i]], label);
    EXPECT_NE(label, 9);  // its distribution is unknown
    EXPECT_EQ(batch.teacher.sampled[i], label > 10 ? 1 : 0);
  }
}

TEST(Checkpoint, ComesBackWholeAndDamageFallsBackToTheOlder) {
  const ScratchFolder folder;
  const auto save = [&](int64_t step, float value) {
    ASSERT_TRUE(save_checkpoint(folder.path(), {step, {{"a.b", at::full({3}, value)}}}, 2));
  };
  save(10, 1.0F);
  save(20, 2.0F);
  save(30, 3.0F);
  EXPECT_FALSE(fs::exists(folder.path() / "00000010"));
  std::string skipped;
  auto newest = load_newest_checkpoint(folder.path(), skipped);
  ASSERT_TRUE(newest);
  EXPECT_EQ(newest->step, 30);
  EXPECT_EQ(newest->tensors.at("a.b")[0].item<float>(), 3.0F);

  fs::resize_file(folder.path() / "00000030" / "state.pt", 100);
  newest = load_newest_checkpoint(folder.path(), skipped);
  ASSERT_TRUE(newest);
  EXPECT_EQ(newest->step, 20);
  EXPECT_EQ(skipped, "00000030");
}

TEST(Checkpoint, AnUnfinishedOneIsNotSeen) {
  const ScratchFolder folder;
  fs::create_directories(folder.path() / "tmp-00000040");
  std::string skipped;
  EXPECT_FALSE(load_newest_checkpoint(folder.path(), skipped));
  EXPECT_EQ(skipped, "");
}

}  // namespace
}  // namespace tristill::train
