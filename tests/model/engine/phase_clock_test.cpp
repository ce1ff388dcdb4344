// How long a generation took over each phase, and when that is too long.
#include "model/engine/phase_clock.h"

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <thread>

#include "tests/model/engine/story.h"

namespace tristill::engine {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using Time = PhaseClock::Time;

constexpr Time kStart{std::chrono::hours(5)};

struct Phases {
  double queued_ms, prefill_ms, decode_ms;
  bool operator==(const Phases&) const = default;
};

Phases measure(const PhaseClock& clock, milliseconds after_start) {
  TokenEvent event;
  clock.measure(kStart + after_start, event);
  return {event.queued_ms, event.prefill_ms, event.decode_ms};
}

TEST(PhaseClock, EachPhaseEndsWhereTheNextBegins) {
  PhaseClock clock(kStart);
  EXPECT_EQ(measure(clock, milliseconds(7)), (Phases{7, 0, 0}));
  EXPECT_FALSE(clock.is_admitted());
  clock.admit(kStart + milliseconds(10));
  EXPECT_TRUE(clock.is_admitted());
  EXPECT_EQ(measure(clock, milliseconds(30)), (Phases{10, 20, 0}));
  clock.start_output(kStart + milliseconds(40) + microseconds(500));
  EXPECT_EQ(measure(clock, milliseconds(100)), (Phases{10, 30.5, 59.5}));
}

TEST(PhaseClock, APreemptionBeginsNoPhaseAgain) {
  PhaseClock clock(kStart);
  clock.admit(kStart + milliseconds(1));
  clock.start_output(kStart + milliseconds(3));
  clock.admit(kStart + milliseconds(50));
  clock.start_output(kStart + milliseconds(60));
  EXPECT_EQ(measure(clock, milliseconds(100)), (Phases{1, 2, 97}));
}

TEST(PhaseClock, ADeadlineCountsInEveryPhase) {
  GenerationRequest request;
  request.deadline = kStart + milliseconds(10);
  PhaseClock clock(kStart);
  const auto is_late_after = [&](int ms) {
    return clock.is_late(kStart + milliseconds(ms), request);
  };
  for (int phase = 0; phase < 3; ++phase) {
    if (phase == 1) clock.admit(kStart + milliseconds(1));
    if (phase == 2) clock.start_output(kStart + milliseconds(2));
    EXPECT_FALSE(is_late_after(9));
    EXPECT_TRUE(is_late_after(10));
  }
}

TEST(PhaseClock, LimitsCountFromTheBeginningOfTheirPhase) {
  GenerationRequest request;
  request.max_prefill = milliseconds(5);
  request.max_decode = milliseconds(20);
  PhaseClock clock(kStart);
  const auto is_late_after = [&](int ms) {
    return clock.is_late(kStart + milliseconds(ms), request);
  };
  EXPECT_FALSE(is_late_after(1000));  // it waits
  clock.admit(kStart + milliseconds(1000));
  EXPECT_FALSE(is_late_after(1004));
  EXPECT_TRUE(is_late_after(1005));
  clock.start_output(kStart + milliseconds(1004));
  EXPECT_FALSE(is_late_after(1023));
  EXPECT_TRUE(is_late_after(1024));
}

TEST(Engine, TimesComeWithEveryOutputTokenAndTheEnd) {
  auto one = options();
  one.max_sequences = 1;
  Engine engine(tiny_model(), one);
  const auto before = std::chrono::steady_clock::now();
  auto generations =
      engine.submit_all({request_of(prompt_of(40), 20), request_of(prompt_of(50), 20)});
  ASSERT_TRUE(generations);
  const Story first = read(std::move((*generations)[0]));
  const Story second = read(std::move((*generations)[1]));
  const double wall_ms =
      std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - before).count();
  for (const Story* story : {&first, &second}) {
    const TokenEvent& start = story->output.front();
    EXPECT_GT(start.queued_ms, 0);
    EXPECT_GT(start.prefill_ms, 0);
    EXPECT_EQ(start.decode_ms, 0);
    double decode_ms = 0;
    for (const auto& event : story->output) {
      EXPECT_EQ(event.queued_ms, start.queued_ms);
      EXPECT_EQ(event.prefill_ms, start.prefill_ms);
      EXPECT_GE(event.decode_ms, decode_ms);
      decode_ms = event.decode_ms;
    }
    EXPECT_EQ(story->end.prefill_ms, start.prefill_ms);
    EXPECT_GE(story->end.decode_ms, decode_ms);
    EXPECT_LE(start.queued_ms + start.prefill_ms + story->end.decode_ms, wall_ms);
  }
  // The second had its place when the first had ended.
  EXPECT_GE(second.end.queued_ms, first.end.prefill_ms + first.output.back().decode_ms);
}

TEST(Engine, TimesOfAnEmbeddingAndOfWhatNeverHadAPlace) {
  auto one = options();
  one.max_sequences = 1;
  Engine engine(endless_model(), one);
  auto embed = request_of(prompt_of(40), 0);
  embed.embed = true;
  const TokenEvent embedded = read(submit(engine, embed)).end;
  EXPECT_GT(embedded.prefill_ms, 0);
  EXPECT_EQ(embedded.decode_ms, 0);
  Generation runs = submit(engine, request_of(prompt_of(4), kEndless));
  ASSERT_TRUE(runs.next(kPatience).has_value());
  auto waits = request_of(prompt_of(4), 4);
  waits.deadline = std::chrono::steady_clock::now();
  const TokenEvent refused = read(submit(engine, waits)).end;
  EXPECT_GT(refused.queued_ms, 0);
  EXPECT_EQ(refused.prefill_ms + refused.decode_ms, 0);
}

TEST(Engine, ADeadlineThatPassesWhileThePromptIsReadEndsWithoutOutput) {
  EngineOptions slow = options();
  slow.step_tokens = 1;
  slow.team = std::make_shared<ThreadTeam>(1);
  Engine engine(tiny_model(), slow);
  read(submit(engine, request_of(prompt_of(2), 1)));  // it has warmed up
  auto request = request_of(prompt_of(100), 4);
  request.prompt_logprobs = true;  // the first event tells that it has its place
  request.deadline = std::chrono::steady_clock::now() + milliseconds(300);
  std::optional<Generation> generation;
  {
    const ThreadTeam::Turn turn(*slow.team);  // the engine computes nothing meanwhile
    generation = submit(engine, request);
    ASSERT_TRUE(generation->next(kPatience).has_value());
    while (std::chrono::steady_clock::now() < *request.deadline) std::this_thread::yield();
  }
  const Story story = read(std::move(*generation));
  EXPECT_EQ(story.end.finish, FinishReason::deadline) << story.end.error;
  EXPECT_TRUE(story.output.empty());
  EXPECT_LE(story.prompt.size(), 1U);  // the step that ran when it passed
  EXPECT_GE(story.end.prefill_ms, 1.0);
  EXPECT_EQ(settled_stats(engine).kv_tokens_used, 0U);
}

TEST(Engine, ALimitOfThePrefillEndsItAfterTheStepThatRuns) {
  EngineOptions slow = options();
  slow.step_tokens = 8;
  Engine engine(tiny_model(), slow);
  auto request = request_of(prompt_of(100), 4);
  request.max_prefill = milliseconds(0);
  const Story story = read(submit(engine, request));
  EXPECT_EQ(story.end.finish, FinishReason::deadline);
  EXPECT_TRUE(story.output.empty());
  EXPECT_EQ(settled_stats(engine).prompt_tokens, 8U);
  request.prompt = prompt_of(8, 3);  // read in one step: there is no prefill that lasts
  EXPECT_EQ(read(submit(engine, request)).end.finish, FinishReason::length);
}

TEST(Engine, ALimitOfTheDecodingEndsWithWhatIsThere) {
  Engine engine(tiny_model(), options());
  auto request = request_of(prompt_of(10), 50);
  request.max_decode = milliseconds(0);
  const Story story = read(submit(engine, request));
  EXPECT_EQ(story.end.finish, FinishReason::deadline);
  EXPECT_EQ(story.output.size(), 1U);
  request.max_decode = std::chrono::hours(1);
  request.max_prefill = std::chrono::hours(1);
  EXPECT_EQ(read(submit(engine, request)).output.size(), 50U);
}

// The one in front needs the cache; the other has given up its place and cannot have it back before
// its time is over.
TEST(Engine, ALimitThatPassesAfterAPreemptionIsNoError) {
  auto small = options();
  small.kv_cache_tokens = 16 * 6;
  small.draft_tokens = 0;
  Engine engine(tiny_model(), small);
  auto second = request_of(prompt_of(60, 5), 30);
  second.max_decode = milliseconds(500);
  auto first = request_of(prompt_of(10), 80);
  first.priority = 1;
  bool has_slept = false;
  // On the engine's thread: the limit passes while the second one waits for its place.
  first.on_event = [&] {
    if (has_slept || engine.stats().preempted == 0) return;
    has_slept = true;
    const auto end = std::chrono::steady_clock::now() + *second.max_decode;
    while (std::chrono::steady_clock::now() < end) std::this_thread::yield();
  };
  auto generations = engine.submit_all({first, second});
  ASSERT_TRUE(generations);
  const Story story = read(std::move((*generations)[1]));
  EXPECT_EQ(story.end.finish, FinishReason::deadline) << story.end.error;
  EXPECT_GE(story.end.decode_ms, 500.0);
  EXPECT_EQ(settled_stats(engine).preempted, 1U);
}

}  // namespace
}  // namespace tristill::engine
