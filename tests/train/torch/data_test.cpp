#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <map>
#include <numeric>
#include <set>

#include "tests/support/temporary_folder.h"
#include "tests/support/test_model.h"
#include "train/checkpoint.h"
#include "train/data/containment.h"
#include "train/data/fim.h"
#include "train/data/packing.h"

namespace tristill::train {
namespace {

namespace fs = std::filesystem;

std::string sample_text(int lines, int seed) {
  std::string text;
  for (int i = 0; i < lines; ++i) {
    text +=
        "def f" + std::to_string(i * 7 + seed) + "(x):\n    return x + " + std::to_string(i) + "\n";
  }
  return text;
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

TEST(Packing, APlaceThatIsNotInTheDataIsKnown) {
  const auto tokenizer = test::tiny_tokenizer();
  BatchStream stream(two_sources(*tokenizer), tokenizer, {.rows = 2, .tokens = 48});
  stream.next();
  const Cursor cursor = stream.cursor();
  EXPECT_TRUE(stream.has(cursor));
  const auto changed = [&](const auto& change) {
    Cursor other = cursor;
    change(other.places[0]);
    return other;
  };
  using Place = Cursor::Place;
  for (const Cursor& absent :
       {changed([](Place& place) { place.next = 1000; }), changed([](Place& p) { p.next = -1; }),
        changed([](Place& place) { place.open[0].document = 1000; }),
        changed([](Place& place) { place.open[0].offset = 1 << 20; }),
        changed([](Place& place) { place.open.clear(); })}) {
    EXPECT_FALSE(stream.has(absent));
  }
}

// Documents that are each much longer than a batch: of one token each, to be told by.
TEST(Packing, TheRowsOfABatchAreOfManyDocuments) {
  constexpr int kDocuments = 40;
  TokenSource source;
  for (TokenId token = 10; token < 10 + kDocuments; ++token) {
    source.tokens.insert(source.tokens.end(), 1000, token);
    source.starts.push_back(source.tokens.size());
  }
  BatchStream stream({source}, test::tiny_tokenizer(),
                     {.rows = 16, .tokens = 32, .fim_rate = 0, .seed = 3});
  std::map<int64_t, int64_t> seen;
  for (int step = 0; step < 200; ++step) {
    std::set<int64_t> documents;
    const Batch batch = stream.next();
    for (int64_t row = 0; row < 16; ++row) {
      const int64_t document = batch.tokens[row][0].item<int64_t>();
      documents.insert(document);
      seen[document] += 32;
    }
    EXPECT_GT(documents.size(), 8U);
  }
  ASSERT_EQ(seen.size(), size_t{kDocuments});
  for (const auto& [document, tokens] : seen) {  // 102400 tokens: two and a half epochs
    EXPECT_GT(tokens, 1500) << document;
    EXPECT_LT(tokens, 4000) << document;
  }
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
  record.top_logprobs[9].clear();
  record.sampling = trace::Sampling::t1;
  record.prompt_tokens = 6;  // 5 to 10 were given, not drawn
  std::vector<TokenSource> sources(1);
  sources[0].add_trace(record);
  BatchStream stream(std::move(sources), tokenizer, {.rows = 1, .tokens = 32, .seed = 1});
  const Batch batch = stream.next();
  ASSERT_EQ(batch.teacher.offsets.size(), batch.teacher.rows.size() + 1);
  EXPECT_EQ(batch.teacher.sampled.size(), batch.teacher.rows.size());
  EXPECT_GE(batch.teacher.rows.size(), 15U);
  EXPECT_EQ(batch.labels.eq(9).sum().item<int64_t>(),
            0);  // nothing is known of it, and it was given
  EXPECT_EQ(batch.labels.eq(14).sum().item<int64_t>(), 1);  // but this is the teacher's own
  for (size_t i = 0; i < batch.teacher.rows.size(); ++i) {
    const int64_t label = batch.labels.data_ptr<int64_t>()[batch.teacher.rows[i]];
    EXPECT_EQ(batch.teacher.ids[batch.teacher.offsets[i]], label);
    EXPECT_NE(label, 14);  // its distribution is unknown
    EXPECT_EQ(batch.teacher.sampled[i], label > 10 ? 1 : 0);
  }
}

// A prompt of many rows with one judged token: the rest is read, and rows are still filled.
TEST(Packing, OfAPromptAloneOnlyWhatTheTeacherJudgedIsLearned) {
  trace::Record record;
  for (int i = 0; i < 100; ++i) record.tokens.push_back(10 + i % 50);
  record.top_logprobs.resize(100);
  record.prompt_tokens = 100;
  for (const auto sampling : {trace::Sampling::greedy, trace::Sampling::t1}) {
    record.sampling = sampling;
    TokenSource source;
    source.add_trace(record);
    EXPECT_EQ(source.documents(), 0U);
    record.top_logprobs[0] = {{10, -0.1F}};  // which nothing predicts
    source.add_trace(record);
    EXPECT_EQ(source.documents(), 0U);
    EXPECT_TRUE(source.tokens.empty() && source.top_ids.empty() && source.drawn.empty());
    record.top_logprobs[57] = {{17, -0.1F}};
    source.add_trace(record);
    ASSERT_EQ(source.documents(), 1U);
    record.top_logprobs[0].clear();
    record.top_logprobs[57].clear();
    BatchStream stream({source}, test::tiny_tokenizer(), {.rows = 1, .tokens = 32, .seed = 1});
    for (int i = 0; i < 5; ++i) {
      const Batch batch = stream.next();
      EXPECT_EQ(batch.teacher.rows.size(), 1U);
      EXPECT_EQ(batch.labels.ge(0).sum().item<int64_t>(), 1);
      EXPECT_EQ(batch.labels.eq(17).sum().item<int64_t>(), 1);
    }
  }
  record.sampling = trace::Sampling::corpus;
  TokenSource text;
  text.add_trace(record);
  EXPECT_EQ(text.documents(), 1U);
  EXPECT_TRUE(text.lessons.empty());
}

TEST(Packing, RemovedDocumentsLeaveNothingBehind) {
  std::vector<trace::Record> records(4);
  for (int r = 0; r < 4; ++r) {
    records[r].sampling = r % 2 == 0 ? trace::Sampling::corpus : trace::Sampling::t1;
    records[r].prompt_tokens = 1;
    for (int i = 0; i < 5 + r; ++i) records[r].tokens.push_back(10 * r + i);
    records[r].top_logprobs.resize(records[r].tokens.size());
    for (int i = 1; i <= r; ++i) records[r].top_logprobs[i].resize(i, {100 + r, -1.0F});
  }
  TokenSource all, wanted;
  all.name = wanted.name = "traces";
  all.weight = wanted.weight = 3;
  for (const auto& record : records) all.add_trace(record);
  for (const int r : {1, 3}) wanted.add_trace(records[r]);
  all.remove({1, 0, 1, 0});
  EXPECT_EQ(all.name, wanted.name);
  EXPECT_EQ(all.weight, wanted.weight);
  EXPECT_EQ(all.is_trace, wanted.is_trace);
  EXPECT_EQ(all.tokens, wanted.tokens);
  EXPECT_EQ(all.starts, wanted.starts);
  EXPECT_EQ(all.lessons, wanted.lessons);
  EXPECT_EQ(all.top_offsets, wanted.top_offsets);
  EXPECT_EQ(all.top_ids, wanted.top_ids);
  EXPECT_EQ(all.top_logprobs, wanted.top_logprobs);
  EXPECT_EQ(all.drawn, wanted.drawn);
}

TEST(Containment, IsTheShareOfAPiecesRunsThatADocumentHas) {
  std::string document, piece;
  for (int i = 0; i < 200; ++i) document += "word" + std::to_string(i) + " ";
  for (int i = 50; i < 90; ++i) piece += "word" + std::to_string(i) + " ";
  const std::string half = piece + [] {
    std::string other;
    for (int i = 0; i < 40; ++i) other += "else" + std::to_string(i) + " ";
    return other;
  }();
  const std::vector<std::string_view> documents = {"another text", document};
  const RunIndex index(documents);
  EXPECT_EQ(index.containment(piece), 1);
  EXPECT_NEAR(index.containment(half), 36.0 / 76, 1e-12);  // runs of 5 in 40 and in 80 words
  EXPECT_EQ(index.containment(piece.substr(0, 100)), 0);  // too short to say
  EXPECT_EQ(RunIndex({}).containment(piece), 0);
  const std::string start = piece.substr(0, 100);
  const std::vector<std::string_view> pieces = {half, piece, start};
  const RunIndex found(pieces);
  EXPECT_EQ(found.held_by(document, 0.8), (std::vector<size_t>{1}));
  EXPECT_EQ(found.held_by(document, 0.4), (std::vector<size_t>{0, 1}));
  EXPECT_TRUE(found.held_by("another text", 0.1).empty());
}

// Each example of a row, put together again, is a piece of the text, and together they are all.
TEST(Packing, NoFillInTheMiddleExampleIsCutByARowsEnd) {
  const auto tokenizer = test::tiny_tokenizer();
  const SpecialTokens& special = tokenizer->special();
  std::vector<TokenSource> sources(1);
  std::string all;
  for (int i = 0; i < 5; ++i) {
    const std::string text = sample_text(60, i);  // many rows long
    all += text;
    sources[0].add_document(*tokenizer, text);
  }
  BatchStream stream(std::move(sources), tokenizer,
                     {.rows = 2, .tokens = 64, .fim_rate = 1, .spm_rate = 0, .seed = 4});
  int examples = 0;
  std::vector<bool> covered(all.size());
  while (stream.cursor().places[0].epoch < 3) {  // all of them were read by then
    const Batch batch = stream.next();
    for (int64_t row = 0; row < 2; ++row) {
      const auto* tokens = batch.tokens.data_ptr<int64_t>() + row * 64;
      const auto* labels = batch.labels.data_ptr<int64_t>() + row * 64;
      for (int64_t at = 0; at < 64; ++at) {
        if (tokens[at] != special.fim_prefix) continue;
        std::vector<TokenId> example(tokens + at, tokens + at + 1);
        while (at < 64 && labels[at] >= 0 && labels[at] != special.eos) {
          example.push_back(static_cast<TokenId>(labels[at++]));
        }
        ASSERT_LT(at, 64) << "cut by the row's end";
        ASSERT_EQ(labels[at], special.eos);
        const std::span<const TokenId> ids(example);
        const auto find = [&](TokenId id) {
          return static_cast<size_t>(std::find(ids.begin(), ids.end(), id) - ids.begin());
        };
        const size_t suffix = find(special.fim_suffix);
        const size_t middle = find(special.fim_middle);
        ASSERT_LT(suffix, middle);
        ASSERT_LT(middle, ids.size());
        const std::string text = tokenizer->decode(ids.subspan(1, suffix - 1)) +
                                 tokenizer->decode(ids.subspan(middle + 1)) +
                                 tokenizer->decode(ids.subspan(suffix + 1, middle - suffix - 1));
        const size_t place = all.find(text);
        ASSERT_NE(place, std::string::npos) << text;
        for (size_t i = 0; i < text.size(); ++i) covered[place + i] = true;
        ++examples;
      }
    }
  }
  EXPECT_GT(examples, 30);
  const auto missed = static_cast<double>(std::count(covered.begin(), covered.end(), false));
  EXPECT_LT(missed, 0.01 * static_cast<double>(all.size()));
}

Document chat(const std::vector<std::string>& parts) {
  Document document;
  for (size_t i = 0; i < parts.size(); ++i) {
    document.text += parts[i];
    document.parts.push_back({parts[i].size(), i % 2 == 1});
  }
  return document;
}

// What the labels of a batch say, each run of them in braces, <eos> as a bar.
std::string learned(const Batch& batch, const Tokenizer& tokenizer) {
  std::string out;
  bool open = false;
  for (int64_t i = 0; i < batch.labels.numel(); ++i) {
    const auto label = static_cast<TokenId>(batch.labels.data_ptr<int64_t>()[i]);
    if ((label >= 0) != open) out += open ? "}" : "{";
    open = label >= 0;
    if (open) out += label == tokenizer.special().eos ? "|" : tokenizer.bytes_of(label);
  }
  return out + (open ? "}" : "");
}

TEST(Packing, OfAChatOnlyTheAnswersAreLabelledAndEachEnds) {
  const auto tokenizer = test::tiny_tokenizer();
  std::vector<TokenSource> sources(1);
  sources[0].add(encode_document(
      *tokenizer, chat({"user: a\n\nassistant:", " one", "\n\nuser: b\n\nassistant:", " two"})));
  const auto given = tokenizer->encode("user: a\n\nassistant:");
  const TokenSource copy = sources[0];
  EXPECT_EQ(std::vector(copy.tokens.begin(), copy.tokens.begin() + std::ssize(given)), given);
  const auto batches = evaluation_batches(copy, *tokenizer, 1, 256, 1 << 20);
  ASSERT_EQ(batches.size(), 1U);
  EXPECT_EQ(learned(batches[0], *tokenizer), "{ one|}{ two|}");
  EXPECT_EQ(batches[0].bytes, 8);
  // Never turned to fill-in-the-middle.
  BatchStream stream(std::move(sources), tokenizer, {.rows = 1, .tokens = 128, .fim_rate = 1});
  const std::string labels = learned(stream.next(), *tokenizer);
  EXPECT_TRUE(labels.starts_with("{ one|}{ two|}")) << labels;
}

TEST(Packing, AChatIsCutOnlyWhereARowCouldNotHoldIt) {
  const auto tokenizer = test::tiny_tokenizer();
  const auto whole = encode_document(*tokenizer, chat({sample_text(4, 1), " yes"}));
  const auto length = static_cast<int64_t>(whole.tokens.size()) - 1;
  const int64_t row = length + length / 2;  // one and a half
  TokenSource source;
  for (int i = 0; i < 3; ++i) source.add(whole);
  for (const Batch& batch : evaluation_batches(source, *tokenizer, 1, row, 1 << 20)) {
    EXPECT_EQ(learned(batch, *tokenizer), "{ yes|}");
    EXPECT_EQ(batch.tokens.data_ptr<int64_t>()[0], whole.tokens[0]);
  }
  BatchStream stream({source}, tokenizer, {.rows = 1, .tokens = row});
  for (int i = 0; i < 5; ++i) EXPECT_EQ(learned(stream.next(), *tokenizer), "{ yes|}");
}

TEST(Packing, AnAnswerBehindAPromptOfManyRowsIsStillLearned) {
  const auto tokenizer = test::tiny_tokenizer();
  TokenSource source;
  source.add(encode_document(*tokenizer, chat({sample_text(80, 1), " yes"})));
  source.add_document(*tokenizer, "x = 1\n");
  std::string all;
  for (const Batch& batch : evaluation_batches(source, *tokenizer, 1, 32, 1 << 20)) {
    EXPECT_GT(batch.labels.ge(0).sum().item<int64_t>(), 0);  // rows without labels are passed over
    all += learned(batch, *tokenizer);
  }
  EXPECT_EQ(all, "{ yes|x = 1\n|}");
  BatchStream stream({source}, tokenizer, {.rows = 1, .tokens = 32, .fim_rate = 0});
  for (int i = 0; i < 5; ++i) EXPECT_NE(learned(stream.next(), *tokenizer), "");
}

TEST(Encoding, TheNumberOfThreadsDoesNotShow) {
  const auto tokenizer = test::tiny_tokenizer();
  std::vector<Document> documents;
  uint64_t bytes = 0;
  for (int i = 0; i < 1500; ++i) {
    documents.push_back(i % 7 == 0 ? chat({sample_text(1, i), "ok"})
                                   : Document{.text = sample_text(i % 5, i)});
    bytes += documents.back().text.size();
  }
  for (const uint32_t n_threads : {1U, 4U}) {
    ThreadTeam team(n_threads);
    uint64_t told = 0;
    const auto encoded =
        encode_documents(*tokenizer, documents, team, [&](uint64_t done) { told += done; });
    EXPECT_EQ(told, bytes);
    ASSERT_EQ(encoded.size(), documents.size());
    for (size_t i = 0; i < documents.size(); ++i) {
      const auto expected = encode_document(*tokenizer, documents[i]);
      ASSERT_EQ(encoded[i].tokens, expected.tokens) << i;
      ASSERT_EQ(encoded[i].lessons, expected.lessons) << i;
    }
  }
}

TEST(Checkpoint, ComesBackWholeAndDamageFallsBackToTheOlder) {
  const tests::TemporaryFolder folder;
  const auto save = [&](int64_t step, float value) {
    ASSERT_TRUE(save_checkpoint(folder.path(), {step, {{"a.b", at::full({3}, value)}}}, {}));
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

// Else the first that is saved after them would be the oldest, and go.
TEST(Checkpoint, DamagedOnesStandInNobodysWay) {
  const tests::TemporaryFolder folder;
  for (const int64_t step : {10, 500, 510}) {
    ASSERT_TRUE(
        save_checkpoint(folder.path(), {step, {{"w", at::full({3}, step)}}}, {.newest = 3}));
  }
  for (const char* name : {"00000500", "00000510"}) {
    fs::resize_file(folder.path() / name / "state.pt", 100);
  }
  set_aside_newer(folder.path(), 10);
  EXPECT_TRUE(fs::exists(folder.path() / "damaged-00000510"));
  ASSERT_TRUE(save_checkpoint(folder.path(), {20, {{"w", at::full({3}, 20)}}}, {}));
  std::string skipped;
  const auto newest = load_newest_checkpoint(folder.path(), skipped);
  ASSERT_TRUE(newest);
  EXPECT_EQ(newest->step, 20);
  EXPECT_EQ(skipped, "");
}

// Beyond what base/atomic_file.h's read_file takes unless told otherwise.
TEST(Checkpoint, OneOfMoreThanAGibibyteComesBack) {
  const tests::TemporaryFolder folder;
  const auto large = at::zeros({(int64_t{1} << 30) + 4096}, at::kByte);
  large[-1] = 7;
  ASSERT_TRUE(save_checkpoint(folder.path(), {10, {{"w", large}}}, {}));
  std::string skipped;
  const auto newest = load_newest_checkpoint(folder.path(), skipped);
  ASSERT_TRUE(newest);
  EXPECT_EQ(skipped, "");
  EXPECT_EQ(newest->tensors.at("w").numel(), large.numel());
  EXPECT_EQ(newest->tensors.at("w")[-1].item<int>(), 7);
}

TEST(Checkpoint, ThoseOfEverySoManyStepsAreKeptForGood) {
  const tests::TemporaryFolder folder;
  for (const int64_t step : {5, 10, 15, 20, 25, 30, 35}) {
    ASSERT_TRUE(save_checkpoint(folder.path(), {step, {}}, {.newest = 2, .every = 10}));
  }
  std::set<std::string> found;
  for (const auto& entry : fs::directory_iterator(folder.path())) {
    found.insert(entry.path().filename());
  }
  EXPECT_EQ(found, (std::set<std::string>{"00000010", "00000020", "00000030", "00000035"}));
}

// In a child: the limit on file sizes stands for a full disk.
TEST(Checkpoint, AFullDiskLeavesTheOlderOneAndNothingElse) {
  const tests::TemporaryFolder folder;
  ASSERT_TRUE(save_checkpoint(folder.path(), {10, {{"w", at::zeros({3})}}}, {}));
  const Checkpoint large{20, {{"w", at::zeros({1 << 16})}}};
  const pid_t child = ::fork();
  if (child == 0) {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{1 << 15, 1 << 15};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    const auto saved = save_checkpoint(folder.path(), large, {});
    ::_exit(!saved && saved.error().code == ErrorCode::resource_exhausted ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  std::string skipped;
  const auto newest = load_newest_checkpoint(folder.path(), skipped);
  ASSERT_TRUE(newest);
  EXPECT_EQ(newest->step, 10);
  EXPECT_EQ(skipped, "");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), {}), 1);
}

TEST(Checkpoint, AnUnfinishedOneIsNotSeen) {
  const tests::TemporaryFolder folder;
  fs::create_directories(folder.path() / "tmp-00000040");
  std::string skipped;
  EXPECT_FALSE(load_newest_checkpoint(folder.path(), skipped));
  EXPECT_EQ(skipped, "");
  Checkpoint next;
  next.step = 41;
  ASSERT_TRUE(save_checkpoint(folder.path(), next, {}));  // which takes it away
  EXPECT_FALSE(fs::exists(folder.path() / "tmp-00000040"));
}

TEST(Checkpoint, OneOfTheSameStepTakesThePlaceOfTheOlder) {
  const tests::TemporaryFolder folder;
  Checkpoint made;
  made.step = 7;
  for (const double number : {1.0, 2.0}) {
    made.tensors["x"] = at::full({3}, number);
    ASSERT_TRUE(save_checkpoint(folder.path(), made, {}));
  }
  std::string skipped;
  const auto newest = load_newest_checkpoint(folder.path(), skipped);
  ASSERT_TRUE(newest);
  EXPECT_EQ(newest->tensors.at("x")[0].item<double>(), 2.0);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), {}), 1);
}

}  // namespace
}  // namespace tristill::train
