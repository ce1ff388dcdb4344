// Who gets the next place.
#include "model/engine/waiting_queue.h"

#include <gtest/gtest.h>

namespace tristill::engine {
namespace {

class WaitingQueueTest : public testing::Test {
 protected:
  Sequence* push(const std::string& key, int32_t priority = 0, uint32_t max_tokens = 10) {
    auto sequence = make(key, priority, max_tokens);
    Sequence* raw = sequence.get();
    queue_.push(std::move(sequence));
    return raw;
  }
  static std::unique_ptr<Sequence> make(const std::string& key, int32_t priority,
                                        uint32_t max_tokens) {
    GenerationRequest request;
    request.prompt = {1, 2};
    request.fairness_key = key;
    request.priority = priority;
    auto state = std::make_shared<GenerationState>(std::move(request));
    return std::make_unique<Sequence>(std::move(state), max_tokens, 0);
  }
  WaitingQueue queue_;
};

using Order = std::vector<Sequence*>;

TEST_F(WaitingQueueTest, OneKeyIsServedInTheOrderOfArrival) {
  const Order pushed = {push("a"), push("a"), push("a")};
  EXPECT_EQ(queue_.first(3), pushed);
  EXPECT_EQ(queue_.first(2).size(), 2U);
}

TEST_F(WaitingQueueTest, HigherPrioritiesComeFirst) {
  Sequence* low = push("a", 0);
  Sequence* high = push("b", 7);
  Sequence* lowest = push("a", -3);
  EXPECT_EQ(queue_.first(9), (Order{high, low, lowest}));
}

TEST_F(WaitingQueueTest, KeysTakeTurns) {
  Sequence* a1 = push("a");
  Sequence* a2 = push("a");
  Sequence* a3 = push("a");
  Sequence* b1 = push("b");
  EXPECT_EQ(queue_.first(9), (Order{a1, b1, a2, a3}));
}

TEST_F(WaitingQueueTest, AKeyPaysForWhatItTook) {
  Sequence* a1 = push("a", 0, 1000);
  Sequence* a2 = push("a");
  push("b");
  push("b");
  const auto taken = queue_.take(*a1);
  EXPECT_EQ(taken.get(), a1);
  EXPECT_EQ(queue_.size(), 3U);
  EXPECT_EQ(queue_.first(9).back(), a2);
}

TEST_F(WaitingQueueTest, ANewKeyStartsWhereTheLeastServedStands) {
  Sequence* a1 = push("a", 0, 500);
  push("a", 0, 500);
  const auto taken = queue_.take(*a1);
  Sequence* b1 = push("b");
  Sequence* b2 = push("b");
  // b has no credit of the time before it came.
  const auto order = queue_.first(9);
  EXPECT_NE(order[0] == b1, order[1] == b1);
  EXPECT_EQ(order[2], b2);
}

TEST_F(WaitingQueueTest, ThePreemptedComesBackInFront) {
  Sequence* a1 = push("a");
  Sequence* a2 = push("a");
  auto taken = queue_.take(*a1);
  taken->was_preempted = true;
  queue_.push_front(std::move(taken));
  EXPECT_EQ(queue_.first(9), (Order{a1, a2}));
}

TEST_F(WaitingQueueTest, ErasedOnesAreGone) {
  push("a");
  Sequence* kept = push("b");
  queue_.erase_if([&](Sequence& sequence) { return &sequence != kept; });
  EXPECT_EQ(queue_.first(9), (Order{kept}));
  EXPECT_EQ(queue_.size(), 1U);
  queue_.erase_if([](Sequence&) { return true; });
  EXPECT_TRUE(queue_.empty());
}

}  // namespace
}  // namespace tristill::engine
