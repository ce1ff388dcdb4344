// What an engine learns of its speed and of the lengths of outputs, and what it predicts from that.
#include "model/engine/pace.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <optional>
#include <random>
#include <vector>

#include "model/engine/scheduler.h"
#include "tests/model/engine/story.h"

namespace tristill::engine {
namespace {

constexpr uint64_t kWeightBytes = 100'000'000;

double seconds_of(const StepCost& cost, uint32_t n_turns, uint32_t n_prompt_tokens) {
  return cost.fixed_s + cost.turn_s * n_turns + cost.prompt_s * n_prompt_tokens;
}

TEST(RecentMean, IsTheMeanOfAFewAndThenForgets) {
  RecentMean mean(7, 0.25);
  EXPECT_TRUE(mean.is_empty());
  EXPECT_EQ(mean.value(), 7);
  for (const double x : {1.0, 2.0, 6.0}) mean.add(x);
  EXPECT_DOUBLE_EQ(mean.value(), 3);
  for (int i = 0; i < 3; ++i) mean.add(8);
  EXPECT_DOUBLE_EQ(mean.value(), 8 - 5 * 0.75 * 0.75 * 0.75);
}

TEST(Pace, TheFirstStepSetsTheScale) {
  Pace pace(kWeightBytes);
  EXPECT_GT(pace.cost().fixed_s, 0);
  pace.observe_step({.seconds = 5, .n_turns = 4, .n_prompt_tokens = 30, .n_output_tokens = 4});
  EXPECT_DOUBLE_EQ(seconds_of(pace.cost(), 4, 30), 5);
}

// Ten times faster and slower than the start has it, and of another shape.
TEST(Pace, StepsTeachWhatTheyCost) {
  for (const StepCost truth : {StepCost{0.02, 0.001, 0.0005}, StepCost{0.0005, 0.0004, 0.0001},
                               StepCost{0.0002, 0.01, 0.01}}) {
    Pace pace(kWeightBytes);
    std::mt19937 random(1);
    for (int i = 0; i < 400; ++i) {
      const auto n_turns = static_cast<uint32_t>(random() % 17);
      const auto n_prompt = n_turns == 0 || random() % 3 == 0 ? static_cast<uint32_t>(64) : 0U;
      const double jitter = 0.8 + 0.4 * static_cast<double>(random() % 1000) / 1000;
      pace.observe_step({.seconds = jitter * seconds_of(truth, n_turns, n_prompt),
                         .n_turns = n_turns,
                         .n_prompt_tokens = n_prompt,
                         .n_output_tokens = n_turns});
    }
    for (const auto& [n_turns, n_prompt] : {std::pair{16U, 0U}, std::pair{16U, 64U}}) {
      const double ratio =
          seconds_of(pace.cost(), n_turns, n_prompt) / seconds_of(truth, n_turns, n_prompt);
      EXPECT_GT(ratio, 0.75) << n_turns << " " << n_prompt;
      EXPECT_LT(ratio, 1.33) << n_turns << " " << n_prompt;
    }
    EXPECT_GT(pace.cost().fixed_s, 0);
    EXPECT_GT(pace.cost().turn_s, 0);
    EXPECT_GT(pace.cost().prompt_s, 0);
  }
}

TEST(Pace, OneSlowStepIsNoDisaster) {
  Pace pace(kWeightBytes);
  const Pace::Step usual{.seconds = 0.01, .n_turns = 4, .n_prompt_tokens = 0, .n_output_tokens = 4};
  for (int i = 0; i < 100; ++i) pace.observe_step(usual);
  auto slow = usual;
  slow.seconds = 60;
  pace.observe_step(slow);
  EXPECT_LT(seconds_of(pace.cost(), 4, 0), 0.012);
  pace.observe_step({.seconds = 0, .n_turns = 0, .n_prompt_tokens = 0, .n_output_tokens = 0});
  EXPECT_GT(seconds_of(pace.cost(), 4, 0), 0.009);
}

TEST(Pace, OutputsAreAsLongAsThoseBefore) {
  Pace pace(kWeightBytes);
  const RunningView waits{.n_prompt = 50, .max_tokens = 400};
  EXPECT_EQ(pace.work_ahead(waits).output_tokens, 400);
  pace.observe_end(100);
  EXPECT_EQ(pace.work_ahead(waits).output_tokens, 100);
  EXPECT_EQ(pace.work_ahead({.n_prompt = 50, .max_tokens = 30}).output_tokens, 30);
  EXPECT_EQ(pace.work_ahead({.n_prompt = 50, .max_tokens = 0}).output_tokens, 0);
  pace.observe_end(300);
  EXPECT_EQ(pace.work_ahead(waits).output_tokens, 200);
}

TEST(Pace, WhatRunsHasTheRestBeforeIt) {
  Pace pace(kWeightBytes);
  pace.observe_end(100);
  const auto left = [&](uint32_t n_output, uint32_t max_tokens) {
    return pace
        .work_left(
            {.n_prompt = 50, .n_prompt_done = 50, .n_output = n_output, .max_tokens = max_tokens})
        .output_tokens;
  };
  EXPECT_EQ(left(10, 400), 90);
  EXPECT_EQ(left(90, 400), 25);  // past the average or almost: some more
  EXPECT_EQ(left(300, 400), 25);
  EXPECT_EQ(left(399, 400), 1);
  EXPECT_EQ(left(10, 20), 10);
  EXPECT_EQ(pace.work_left({.n_prompt = 50, .n_prompt_done = 20, .max_tokens = 1}).prompt_tokens,
            30);
}

TEST(Pace, KnownBeginningsOfPromptsAreNotComputed) {
  Pace pace(kWeightBytes);
  pace.observe_prompt(100, 10);
  EXPECT_DOUBLE_EQ(pace.work_ahead({.n_prompt = 200, .max_tokens = 1}).prompt_tokens, 20);
  EXPECT_EQ(pace.work_left({.n_prompt = 200, .max_tokens = 1}).prompt_tokens, 200);
}

TEST(PredictWait, ASmallCacheHasFewerPlaces) {
  Load load{.running = {{.n_prompt = 60, .n_prompt_done = 60, .n_output = 0, .max_tokens = 40}},
            .waiting = {{.n_prompt = 60, .max_tokens = 40}},
            .pace = Pace(kWeightBytes)};
  const EngineOptions options{.max_sequences = 4};
  EXPECT_EQ(predict_wait(load, options, 10000).count(), 0);
  EXPECT_EQ(predict_wait(load, options, 300).count(), 0);  // three fit
  const auto one_fits = predict_wait(load, options, 150);
  EXPECT_GT(one_fits.count(), 0);
  EXPECT_GT(one_fits, predict_wait(load, options, 250));
}

// A burst into four places: steps as the scheduler plans them, outputs that end early, a machine
// with a shape of its own. What is said to someone who comes last is what then happens.
class Burst {
 public:
  explicit Burst(uint32_t seed) : random_(seed) {}

  void submit(size_t n) {
    for (size_t i = 0; i < n; ++i) {
      const uint32_t n_prompt = 20 + between(0, 400);
      const uint32_t n_output = between(5, 120);
      waiting_.push_back({{.n_prompt = n_prompt, .max_tokens = 128}, n_output});
    }
  }
  size_t n_waiting() const { return waiting_.size(); }
  double now_s() const { return now_s_; }
  double predicted_s() const {
    Load load{.running = {}, .waiting = {}, .pace = pace_};
    for (const Item& item : running_) load.running.push_back(item.view);
    for (const Item& item : waiting_) load.waiting.push_back(item.view);
    return std::chrono::duration<double>(predict_wait(load, kOptions, kCacheTokens)).count();
  }

  void step() {
    while (running_.size() < kOptions.max_sequences && !waiting_.empty()) {
      running_.push_back(waiting_.front());
      pace_.observe_prompt(waiting_.front().view.n_prompt, waiting_.front().view.n_prompt);
      waiting_.pop_front();
    }
    std::vector<RunningNeed> needs;
    for (const Item& item : running_) {
      const uint32_t missing = item.view.n_prompt - item.view.n_prompt_done;
      needs.push_back({.missing_tokens = std::max(1U, missing),
                       .draft_tokens = 0,
                       .computed_tokens = 0,
                       .held_blocks = 0,
                       .own_blocks = 0});
    }
    const auto plan = plan_step(needs, {},
                                {.step_tokens = kOptions.step_tokens,
                                 .prefill_tokens = kOptions.prefill_tokens,
                                 .max_sequences = kOptions.max_sequences,
                                 .free_blocks = 100000,
                                 .block_tokens = 16});
    Pace::Step done{.seconds = 0, .n_turns = 0, .n_prompt_tokens = 0, .n_output_tokens = 0};
    for (size_t i = 0; i < running_.size(); ++i) {
      RunningView& view = running_[i].view;
      const uint32_t read = std::min(plan.grants[i].tokens, view.n_prompt - view.n_prompt_done);
      view.n_prompt_done += read;
      const bool is_turn = plan.grants[i].tokens == needs[i].missing_tokens;
      view.n_output += is_turn ? 1 : 0;
      done.n_turns += is_turn ? 1 : 0;
      done.n_prompt_tokens += plan.grants[i].tokens - (is_turn ? 1 : 0);
    }
    done.n_output_tokens = done.n_turns;
    const double jitter = 0.7 + 0.006 * between(0, 100);
    done.seconds = jitter * seconds_of(kTruth, done.n_turns, done.n_prompt_tokens);
    now_s_ += done.seconds;
    pace_.observe_step(done);
    std::erase_if(running_, [this](const Item& item) {
      if (item.view.n_output < item.n_output) return false;
      pace_.observe_end(item.view.n_output);
      return true;
    });
  }

 private:
  struct Item {
    RunningView view;
    uint32_t n_output;  // that it will have
  };
  static constexpr StepCost kTruth{.fixed_s = 0.001, .turn_s = 0.002, .prompt_s = 0.0004};
  static constexpr uint32_t kCacheTokens = 100000;
  inline static const EngineOptions kOptions{.max_sequences = 4};

  uint32_t between(uint32_t least, uint32_t most) {
    return least + static_cast<uint32_t>(random_() % (most - least + 1));
  }

  std::mt19937 random_;
  std::deque<Item> waiting_;
  std::vector<Item> running_;
  Pace pace_{kWeightBytes};
  double now_s_ = 0;
};

TEST(PredictWait, IsWithinAFactorOfTwoInABurstOfTenTimesThePlaces) {
  for (uint32_t seed = 0; seed < 20; ++seed) {
    Burst burst(seed);
    burst.submit(10);  // what the engine knows before
    for (int i = 0; i < 300; ++i) burst.step();
    burst.submit(40);
    for (int i = 0; i < 5; ++i) burst.step();
    // Whoever comes now has a place when those that wait have theirs, and one more is free.
    const double begin_s = burst.now_s();
    const double predicted_s = burst.predicted_s();
    burst.submit(1);
    while (burst.n_waiting() > 0) burst.step();
    const double ratio = predicted_s / (burst.now_s() - begin_s);
    EXPECT_GT(ratio, 0.5) << "seed " << seed;
    EXPECT_LT(ratio, 2.0) << "seed " << seed;
  }
}

TEST(Engine, RunningViewsTellWhoIsWhere) {
  EngineOptions slow = options();
  slow.prefill_tokens = 4;
  slow.step_tokens = 16;
  Engine engine(endless_model(), slow);
  EXPECT_TRUE(engine.running().empty());
  std::vector<Generation> live;
  for (TokenId i = 0; i < 3; ++i) {
    live.push_back(submit(engine, request_of(prompt_of(10, i), kEndless)));
  }
  for (auto& generation : live) ASSERT_TRUE(generation.next(kPatience).has_value());
  auto views = engine.running();
  while (views.size() < 3 || std::ranges::count(views, 0U, &RunningView::n_output) > 0) {
    views = engine.running();  // until the step's end
  }
  for (uint32_t place = 0; place < 3; ++place) {
    EXPECT_EQ(views[place].place, place);
    EXPECT_EQ(views[place].n_prompt, 10U);
    EXPECT_EQ(views[place].n_prompt_done, 10U);
    EXPECT_EQ(views[place].max_tokens, kEndless);
  }
  // Whoever comes next has the lowest place that is free.
  live.erase(live.begin() + 1);
  while (engine.running().size() > 2) ASSERT_TRUE(live[0].next(kPatience).has_value());
  live.push_back(submit(engine, request_of(prompt_of(kEndless, 7), kEndless)));
  for (views = engine.running(); views.size() < 3; views = engine.running()) {
    ASSERT_TRUE(live[0].next(kPatience).has_value());
  }
  EXPECT_EQ(views[1].place, 1U);
  EXPECT_EQ(views[1].n_prompt, kEndless);
  EXPECT_LT(views[1].n_prompt_done, kEndless);
  EXPECT_EQ(views[1].n_output, 0U);
}

TEST(Engine, TheWaitIsPredictedFromWhatRunsAndWaits) {
  EngineOptions small = options();
  small.max_sequences = 2;
  small.team = std::make_shared<ThreadTeam>(1);
  Engine engine(tiny_model(), small);
  EXPECT_EQ(engine.predicted_wait().count(), 0);
  const GenerationRequest request = request_of(prompt_of(60), 60);
  for (int i = 0; i < 3; ++i) read(submit(engine, request));
  settled_stats(engine);
  std::vector<Generation> live;
  {
    const ThreadTeam::Turn turn(*small.team);  // the engine computes nothing meanwhile
    live.push_back(submit(engine, request));
    EXPECT_EQ(engine.predicted_wait().count(), 0);
    std::chrono::milliseconds last{0};
    for (int i = 0; i < 5; ++i) {
      auto more = engine.submit_all(std::vector<GenerationRequest>(40, request));
      ASSERT_TRUE(more);
      std::ranges::move(*more, std::back_inserter(live));
      EXPECT_GT(engine.predicted_wait(), last);
      last = engine.predicted_wait();
    }
  }
  live.clear();
  settled_stats(engine);
  EXPECT_EQ(engine.predicted_wait().count(), 0);
}

}  // namespace
}  // namespace tristill::engine
