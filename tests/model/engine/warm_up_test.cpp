// What an engine learns of its machine before it serves.
#include "model/engine/warm_up.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace tristill::engine {
namespace {

// Computes nothing; its clock goes on by what the steps would have cost.
class TimedBackend : public Backend {
 public:
  explicit TimedBackend(const StepCost& cost) : cost_(cost) {}

  void forward(std::span<const Segment> batch) override {
    double seconds = cost_.fixed_s;
    for (const Segment& segment : batch) {
      seconds += cost_.turn_s + cost_.prompt_s * static_cast<double>(segment.tokens.size() - 1);
      most_positions_ = std::max(most_positions_, segment.tokens.size());
      EXPECT_GE(segment.blocks.size() * kKvBlockTokens, segment.tokens.size());
    }
    ++n_steps_;
    most_sequences_ = std::max(most_sequences_, batch.size());
    now_s_ += seconds;
  }
  std::span<const TokenId> greatest(std::span<const uint32_t> rows) override {
    tokens_.assign(rows.size(), 0);
    return tokens_;
  }
  std::span<const float> logits(std::span<const uint32_t> /*rows*/) override { return {}; }
  std::span<const float> states(std::span<const uint32_t> /*rows*/) override { return {}; }
  void copy_block(KvBlockId /*from*/, KvBlockId /*to*/) override {}
  void read_block(KvBlockId /*block*/, std::span<uint8_t> /*to*/) override {}
  void write_block(KvBlockId /*block*/, std::span<const uint8_t> /*from*/) override {}

  SecondsNow clock() const {
    return [this] { return now_s_; };
  }
  size_t n_steps() const { return n_steps_; }
  size_t most_sequences() const { return most_sequences_; }
  size_t most_positions() const { return most_positions_; }

 private:
  StepCost cost_;
  std::vector<TokenId> tokens_;
  double now_s_ = 5;
  size_t n_steps_ = 0;
  size_t most_sequences_ = 0;
  size_t most_positions_ = 0;
};

constexpr StepCost kStart{.fixed_s = 3, .turn_s = 2, .prompt_s = 1};

TEST(WarmUp, TellsWhatStepsCost) {
  const StepCost truth{.fixed_s = 0.01, .turn_s = 0.004, .prompt_s = 0.002};
  TimedBackend backend(truth);
  ThreadTeam team(1);
  const StepCost cost =
      time_steps(backend, team, 100, 1000, {.max_sequences = 8}, kStart, backend.clock());
  EXPECT_NEAR(cost.fixed_s, truth.fixed_s, 1e-9);
  EXPECT_NEAR(cost.turn_s, truth.turn_s, 1e-9);
  EXPECT_NEAR(cost.prompt_s, truth.prompt_s, 1e-9);
  EXPECT_EQ(backend.most_sequences(), 8U);
}

TEST(WarmUp, KeepsToWhatTheEngineHasRoomFor) {
  TimedBackend backend({});
  ThreadTeam team(1);
  time_steps(backend, team, 2, 3, {.max_sequences = 8}, kStart, backend.clock());
  EXPECT_EQ(backend.most_sequences(), 2U);
  EXPECT_EQ(backend.most_positions(), 3U);
}

TEST(WarmUp, EndsSoonWithASlowModel) {
  TimedBackend backend({.fixed_s = 1.1, .turn_s = 0, .prompt_s = 0});
  ThreadTeam team(1);
  const StepCost cost =
      time_steps(backend, team, 100, 1000, {.max_sequences = 8}, kStart, backend.clock());
  EXPECT_EQ(backend.n_steps(), 1U);
  EXPECT_NEAR(cost.fixed_s + cost.turn_s, 1.1, 1e-9);
  EXPECT_NEAR(cost.fixed_s / cost.prompt_s, 3, 1e-9);  // as at the start
}

TEST(WarmUp, NoPartIsFree) {
  TimedBackend backend({.fixed_s = 0.002, .turn_s = 0, .prompt_s = 0});
  ThreadTeam team(1);
  const StepCost cost =
      time_steps(backend, team, 100, 1000, {.max_sequences = 8}, kStart, backend.clock());
  EXPECT_GT(cost.fixed_s, 0);
  EXPECT_GT(cost.turn_s, 0);
  EXPECT_GT(cost.prompt_s, 0);
}

}  // namespace
}  // namespace tristill::engine
