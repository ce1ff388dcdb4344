#include "server/ops/engine_watch.h"

#include <gtest/gtest.h>

#include <vector>

namespace tristill::ops {
namespace {

using std::chrono::seconds;

class Watch : public ::testing::Test {
 protected:
  bool alive_at(int second, uint32_t running, uint64_t steps) {
    const std::vector<models::ModelTotals> seen = {{"m", {.running = running, .steps = steps}},
                                                   {"idle", {.steps = 3}}};
    return watch_.alive(seen, EngineWatch::Clock::time_point() + seconds(second));
  }
  EngineWatch watch_{seconds(10)};
};

TEST_F(Watch, AnEngineThatHasWorkAndMakesNoStepIsDead) {
  EXPECT_TRUE(alive_at(0, 1, 5));
  EXPECT_TRUE(alive_at(10, 1, 5));
  EXPECT_FALSE(alive_at(11, 1, 5));
  EXPECT_TRUE(alive_at(12, 1, 6));
}

TEST_F(Watch, AnIdleEngineIsAlive) {
  for (const int second : {0, 100, 200}) EXPECT_TRUE(alive_at(second, 0, 5));
  EXPECT_TRUE(alive_at(300, 1, 5));  // its work has just come
  EXPECT_FALSE(alive_at(311, 1, 5));
}

TEST_F(Watch, AMovingEngineIsAliveHoweverLongItHasWork) {
  for (int second = 0; second < 100; second += 9) {
    EXPECT_TRUE(alive_at(second, 3, static_cast<uint64_t>(second)));
  }
}

TEST(EngineWatch, WithoutPatienceForNothingItNeverComplains) {
  EngineWatch watch(std::chrono::milliseconds(0));
  const std::vector<models::ModelTotals> stuck = {{"m", {.running = 1, .steps = 5}}};
  for (const int second : {0, 1000, 2000}) {
    EXPECT_TRUE(watch.alive(stuck, EngineWatch::Clock::time_point() + seconds(second)));
  }
}

}  // namespace
}  // namespace tristill::ops
