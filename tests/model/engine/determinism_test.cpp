// The promise of the engine: the same request gives the same tokens and log-probabilities, bit for
// bit, whatever runs beside it and however it is computed.
#include <map>
#include <set>
#include <string>

#include "base/sha256.h"
#include "tests/model/engine/story.h"

namespace tristill::engine {
namespace {

constexpr size_t kRequests = 16;

std::string digest(const Story& story) {
  Sha256 hash;
  const auto add = [&](const auto& value) {
    hash.update({reinterpret_cast<const char*>(&value), sizeof value});
  };
  for (const auto* events : {&story.prompt, &story.output}) {
    for (const auto& event : *events) {
      add(event.token);
      add(event.logprob);
      add(event.other_logprob);
      for (const auto& top : event.top_logprobs) {
        add(top.token);
        add(top.logprob);
      }
    }
  }
  add(story.end.finish);
  return to_hex(hash.finish());
}

// All sorts: greedy and sampled, penalties, grammars, scored prompts, a minimum of tokens, shared
// and repeated beginnings (which make drafts come true), right and wrong predictions.
GenerationRequest request_number(size_t i) {
  auto prompt = prompt_of(20 + 5 * (i % 4), static_cast<TokenId>(i % 3));
  if (i % 2 == 1) {
    const auto again = prompt;
    prompt.insert(prompt.end(), again.begin(), again.end());
  }
  auto request = request_of(std::move(prompt), 24, 40 + i);
  request.logprobs = i % 3;
  request.prompt_logprobs = i % 5 == 4;
  request.other_logprobs = i % 2 == 0;
  request.priority = static_cast<int32_t>(i % 2);
  if (i % 4 < 2) request.sampling.temperature = 0.0F;
  if (i % 4 == 2) request.sampling.top_p = 0.8F;
  if (i % 4 == 3) request.sampling.repetition_penalty = 1.3F;
  if (i % 8 == 6) request.sampling.typical_p = 0.7F;
  if (i % 3 == 2) {
    request.stop_tokens = prompt_of(60, static_cast<TokenId>(i));
    request.min_tokens = 12;
  }
  if (i % 6 == 5) request.prediction = prompt_of(30, static_cast<TokenId>(i));
  if (i % 4 == 1 || i % 8 == 6) request.grammar = words_in_brackets();
  return request;
}

std::vector<std::string> digests_of(Engine& engine, size_t n) {
  std::vector<GenerationRequest> requests;
  for (size_t i = 0; i < n; ++i) requests.push_back(request_number(i));
  auto generations = engine.submit_all(std::move(requests));
  EXPECT_TRUE(generations);
  std::vector<std::string> digests;
  for (auto& generation : *generations) digests.push_back(digest(read(std::move(generation))));
  return digests;
}

// One request at a time on the specification's kernels, with nothing remembered or guessed.
const std::vector<std::string>& expected_digests(KvFormat format) {
  static std::map<KvFormat, std::vector<std::string>> known;
  auto& digests = known[format];
  if (!digests.empty()) return digests;
  EXPECT_TRUE(kernels::force_isa("scalar"));
  Engine engine(tiny_model(), {.n_threads = 2,
                               .max_sequences = 1,
                               .kv_format = format,
                               .draft_tokens = 0,
                               .prefix_cache = false});
  for (size_t i = 0; i < kRequests; ++i) {
    digests.push_back(digest(read(submit(engine, request_number(i)))));
  }
  kernels::force_isa("auto");
  return digests;
}

class Determinism : public testing::TestWithParam<KvFormat> {
 protected:
  void SetUp() override {
    expected_ = expected_digests(GetParam());
    // Two pairs of greedy requests are the same one; all others differ.
    const std::set<std::string> different(expected_.begin(), expected_.end());
    EXPECT_EQ(different.size(), kRequests - 2);
  }
  void TearDown() override { kernels::force_isa("auto"); }

  EngineOptions options_with(uint32_t n_threads, size_t max_sequences) const {
    return {.n_threads = n_threads,
            .max_sequences = static_cast<uint32_t>(max_sequences),
            .kv_format = GetParam()};
  }
  void expect_same(Engine& engine, size_t n, const std::string& cell) {
    const auto digests = digests_of(engine, n);
    for (size_t i = 0; i < n; ++i) EXPECT_EQ(digests[i], expected_[i]) << cell << ", request " << i;
  }

  std::vector<std::string> expected_;
};

TEST_P(Determinism, EveryInstructionSetAndThreadCount) {
  for (auto* const* isa = kernels::runnable(); *isa != nullptr; ++isa) {
    ASSERT_TRUE(kernels::force_isa((*isa)->isa));
    for (uint32_t n_threads = 1; n_threads <= 4; ++n_threads) {
      Engine engine(tiny_model(), options_with(n_threads, 8));
      const bool slow = *isa == &kernels::kScalar;
      expect_same(engine, slow ? 4 : kRequests,
                  std::string((*isa)->isa) + " threads " + std::to_string(n_threads));
      if (slow && n_threads == 2) break;
    }
  }
}

// Without log-probabilities a greedy request needs only the greatest logit, which is searched for.
TEST_P(Determinism, GreedyTokensAreTheSameWithoutLogprobs) {
  for (size_t n_sequences = 1; n_sequences <= 3; ++n_sequences) {
    Engine engine(tiny_model(), options_with(2, n_sequences));
    std::vector<Generation> with, without;
    for (size_t i = 0; i < 2 * n_sequences; ++i) {
      auto request = request_of(prompt_of(9 + i, static_cast<TokenId>(i)), 60, i);
      request.sampling.temperature = 0.0F;
      if (i % 2 == 1) request.grammar = words_in_brackets();
      without.push_back(submit(engine, request));
      request.logprobs = 0;
      with.push_back(submit(engine, request));
    }
    for (size_t i = 0; i < with.size(); ++i) {
      EXPECT_EQ(read(std::move(with[i])).tokens(), read(std::move(without[i])).tokens()) << i;
    }
  }
}

TEST_P(Determinism, EveryBatchSize) {
  for (size_t n = 1; n <= kRequests; ++n) {
    Engine engine(tiny_model(), options_with(1, n));
    expect_same(engine, kRequests, "batch " + std::to_string(n));
  }
}

TEST_P(Determinism, EveryChunkSizeWithAndWithoutDraftsAndPrefixCache) {
  for (const uint32_t step_tokens : {1U, 7U, 64U, 512U}) {
    for (const uint32_t prefill_tokens : {1U, 16U, 33U}) {
      for (const uint32_t draft_tokens : {0U, 3U, 10U}) {
        for (const bool prefix_cache : {false, true}) {
          auto options = options_with(2, 6);
          options.step_tokens = step_tokens;
          options.prefill_tokens = prefill_tokens;
          options.draft_tokens = draft_tokens;
          options.prefix_cache = prefix_cache;
          Engine engine(tiny_model(), options);
          const std::string cell = "step " + std::to_string(step_tokens) + " prefill " +
                                   std::to_string(prefill_tokens) + " drafts " +
                                   std::to_string(draft_tokens) + " cache " +
                                   std::to_string(int{prefix_cache});
          expect_same(engine, kRequests, cell);
          if (prefix_cache) expect_same(engine, kRequests, cell + " again");
          if (draft_tokens > 3 && step_tokens > 7) {
            EXPECT_GT(settled_stats(engine).accepted_draft_tokens, 0U) << cell;
            EXPECT_GT(settled_stats(engine).rejected_draft_tokens, 0U) << cell;
          }
        }
      }
    }
  }
}

// A model that is often right (the same one), and one that never is and soon runs out of context.
TEST_P(Determinism, DraftModelsChangeNothing) {
  ModelConfig other = tiny_config();
  other.n_layers = 1;
  other.max_context = 64;
  const auto wrong = random_model(other, kSeed + 1);
  for (const auto& draft : {tiny_model(), wrong}) {
    for (const uint32_t kv_cache_tokens : {0U, 16 * 10U}) {
      for (const uint32_t n_sequences : {1U, 4U}) {
        auto options = options_with(2, n_sequences);
        options.draft_model = draft;
        options.kv_cache_tokens = kv_cache_tokens;
        Engine engine(tiny_model(), options);
        const std::string cell = draft->name + " cache " + std::to_string(kv_cache_tokens) +
                                 " sequences " + std::to_string(n_sequences);
        expect_same(engine, kRequests, cell);
        expect_same(engine, kRequests, cell + " again");
        const EngineStats stats = settled_stats(engine);
        if (draft == tiny_model()) {
          // It knows no grammars, and so guesses wrong where one forbids the likeliest token.
          EXPECT_GT(2 * stats.accepted_draft_tokens, stats.rejected_draft_tokens) << cell;
        } else {
          EXPECT_GT(stats.rejected_draft_tokens, stats.accepted_draft_tokens) << cell;
        }
      }
    }
  }
}

TEST_P(Determinism, PreemptedSequencesGoOnAsIfNothingHadHappened) {
  auto options = options_with(2, 8);
  options.kv_cache_tokens = 16 * 10;  // the longest needs 6 blocks
  Engine engine(tiny_model(), options);
  expect_same(engine, kRequests, "small cache");
  EXPECT_EQ(settled_stats(engine).kv_tokens_used, 0U);
  EXPECT_GT(settled_stats(engine).preempted, 0U);
}

TEST_P(Determinism, EnginesThatShareATeamDoNotDisturbEachOther) {
  auto options = options_with(0, 4);
  options.team = std::make_shared<ThreadTeam>(2);
  Engine one(tiny_model(), options);
  Engine other(tiny_model(), options);
  std::vector<Generation> load;
  for (size_t i = 0; i < 8; ++i) load.push_back(submit(other, request_number(i)));
  expect_same(one, kRequests, "shared team");
  for (size_t i = 0; i < 8; ++i) EXPECT_EQ(digest(read(std::move(load[i]))), expected_[i]);
}

INSTANTIATE_TEST_SUITE_P(KvFormats, Determinism, testing::Values(KvFormat::fp16, KvFormat::int8),
                         [](const auto& param) {
                           return std::string(param.param == KvFormat::fp16 ? "fp16" : "int8");
                         });

}  // namespace
}  // namespace tristill::engine
