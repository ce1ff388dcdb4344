// The team runs work once a thread, splits fully, and passes exceptions on.
#include "model/threads.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <atomic>
#include <stdexcept>
#include <vector>

namespace tristill {
namespace {

TEST(ThreadTeam, EveryPartRunsOnceInEveryRound) {
  for (const uint32_t n : {1, 2, 3, 5}) {
    ThreadTeam team(n);
    std::vector<std::atomic<int>> runs(7);
    for (int i = 0; i < 1000; ++i) {
      // A context of its own a round: a late member that used an old one would count twice here
      // or crash under the sanitizers.
      std::vector<int> done(7, 0);
      team.run(7, [&](uint32_t part, uint32_t thread) {
        EXPECT_LT(thread, n);
        ++done[part];
        ++runs[part];
      });
      EXPECT_EQ(done, std::vector<int>(7, 1));
    }
    for (const auto& count : runs) EXPECT_EQ(count.load(), 1000);
  }
}

TEST(ThreadTeam, ForEachVisitsEveryIndexOnce) {
  ThreadTeam team(3);
  for (const size_t n : {0, 1, 2, 7, 100}) {
    std::vector<std::atomic<int>> visits(n);
    team.for_each(n, 2, [&](size_t i, uint32_t) { ++visits[i]; });
    for (const auto& count : visits) EXPECT_EQ(count.load(), 1);
  }
}

TEST(ThreadTeam, AnExceptionReachesTheCallerAndTheTeamLives) {
  ThreadTeam team(2);
  for (const uint32_t thrower : {0U, 3U}) {
    const auto work = [&](uint32_t part, uint32_t) {
      if (part == thrower) throw std::runtime_error("expected");
    };
    EXPECT_THROW(team.run(4, work), std::runtime_error);
    std::atomic<int> runs{0};
    team.run(4, [&](uint32_t, uint32_t) { ++runs; });
    EXPECT_EQ(runs.load(), 4);
  }
}

TEST(ShareOf, SharesCoverEverythingInOrderAtMultiplesOfTheGrain) {
  for (const size_t n : {0, 1, 31, 32, 33, 1000}) {
    for (const uint32_t n_threads : {1, 2, 3, 8}) {
      size_t reached = 0;
      for (uint32_t t = 0; t < n_threads; ++t) {
        const Share share = share_of(n, 32, t, n_threads);
        EXPECT_EQ(share.begin, reached);
        EXPECT_TRUE(share.end == n || share.end % 32 == 0);
        reached = share.end;
      }
      EXPECT_EQ(reached, n);
    }
  }
}

TEST(ThreadTeam, PinnedMembersComputeTheSame) {
  ThreadTeam team(4, ThreadTeam::Placement::pinned);
  std::atomic<uint32_t> sum{0};
  for (int i = 0; i < 100; ++i) team.run(16, [&](uint32_t part, uint32_t) { sum += part; });
  EXPECT_EQ(sum.load(), 100U * 120U);
  cpu_set_t own;
  ASSERT_EQ(sched_getaffinity(0, sizeof own, &own), 0);
  std::atomic<int> widest{0};
  for (int i = 0; i < 100; ++i) {
    team.run(4, [&](uint32_t, uint32_t thread) {
      cpu_set_t set;
      if (thread > 0 && sched_getaffinity(0, sizeof set, &set) == 0) {
        widest = std::max(widest.load(), CPU_COUNT(&set));
      }
    });
  }
  EXPECT_LE(widest.load(), 1);
  cpu_set_t after;
  ASSERT_EQ(sched_getaffinity(0, sizeof after, &after), 0);
  EXPECT_TRUE(CPU_EQUAL(&own, &after));  // the caller goes where it went
}

TEST(UsableCores, IsAtLeastOne) { EXPECT_GE(usable_cores(), 1U); }

}  // namespace
}  // namespace tristill
