// What launchers say in the environment, and which rank that makes this process.
#include "train/distributed/rank_place.h"

#include <gtest/gtest.h>

#include <map>

namespace tristill::train {
namespace {

using Variables = std::map<std::string, std::string>;

Result<RankPlace> place_in(const Variables& variables) {
  return rank_place([&](const char* name) -> const char* {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  });
}

TEST(RankPlace, WithoutALauncherItIsAlone) {
  EXPECT_EQ(*place_in({}), RankPlace{});
  EXPECT_EQ(*place_in({{"RANK", "3"}}), RankPlace{}) << "a rank of nothing";
}

TEST(RankPlace, TorchrunNamesAllAndServesTheStore) {
  const auto place = place_in({{"RANK", "5"},
                               {"WORLD_SIZE", "8"},
                               {"LOCAL_RANK", "1"},
                               {"MASTER_ADDR", "node0"},
                               {"MASTER_PORT", "29400"},
                               {"TORCHELASTIC_USE_AGENT_STORE", "True"},
                               {"TORCHELASTIC_RESTART_COUNT", "2"}});
  ASSERT_TRUE(place);
  EXPECT_EQ(*place, (RankPlace{.rank = 5,
                               .size = 8,
                               .local_rank = 1,
                               .address = "node0",
                               .port = 29400,
                               .is_store_served = true,
                               .attempt = "2"}));
}

TEST(RankPlace, MpirunMeetsOnThisMachineUnlessTold) {
  const Variables variables = {{"OMPI_COMM_WORLD_RANK", "1"},
                               {"OMPI_COMM_WORLD_SIZE", "2"},
                               {"OMPI_COMM_WORLD_LOCAL_RANK", "1"}};
  EXPECT_EQ(*place_in(variables), (RankPlace{.rank = 1, .size = 2, .local_rank = 1}));
  Variables told = variables;
  told["MASTER_ADDR"] = "10.0.0.7";
  EXPECT_EQ(place_in(told)->address, "10.0.0.7");
}

TEST(RankPlace, SrunMeetsOnTheFirstNodeAtAPortOfTheJob) {
  const auto place = place_in({{"SLURM_PROCID", "2"},
                               {"SLURM_STEP_NUM_TASKS", "4"},
                               {"SLURM_LOCALID", "0"},
                               {"SLURM_STEP_NODELIST", "gpu[007-010]"},
                               {"SLURM_JOB_ID", "12345678"}});
  ASSERT_TRUE(place);
  EXPECT_EQ(*place, (RankPlace{.rank = 2, .size = 4, .address = "gpu007", .port = 25678}));
}

// A batch script has SLURM_PROCID and SLURM_NTASKS, but is no rank.
TEST(RankPlace, ABatchScriptWithoutSrunIsAlone) {
  EXPECT_EQ(*place_in({{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "4"}, {"SLURM_JOB_ID", "7"}}),
            RankPlace{});
}

TEST(RankPlace, WhatAPersonSetsGoesBeforeTheSchedulers) {
  const auto place = place_in(
      {{"SLURM_PROCID", "3"}, {"SLURM_STEP_NUM_TASKS", "4"}, {"RANK", "0"}, {"WORLD_SIZE", "2"}});
  ASSERT_TRUE(place);
  EXPECT_EQ(place->rank, 0);
  EXPECT_EQ(place->size, 2);
}

TEST(RankPlace, WrongValuesAreRefusedByName) {
  const struct {
    Variables variables;
    const char* param;
  } cases[] = {
      {{{"RANK", "2"}, {"WORLD_SIZE", "2"}}, "RANK"},
      {{{"RANK", "-1"}, {"WORLD_SIZE", "2"}}, "RANK"},
      {{{"RANK", "0"}, {"WORLD_SIZE", "many"}}, "WORLD_SIZE"},
      {{{"RANK", "0"}, {"WORLD_SIZE", "2"}, {"MASTER_PORT", "70000"}}, "MASTER_PORT"},
      {{{"RANK", "0"}, {"WORLD_SIZE", "2"}, {"LOCAL_RANK", "1"}}, "LOCAL_RANK"},
  };
  for (const auto& c : cases) {
    const auto place = place_in(c.variables);
    ASSERT_FALSE(place) << c.param;
    EXPECT_EQ(place.error().param, c.param);
    EXPECT_NE(place.error().message.find("accepted is"), std::string::npos);
  }
}

TEST(RankPlace, FirstHostOfANodeList) {
  EXPECT_EQ(first_host("login1"), "login1");
  EXPECT_EQ(first_host("a1,a2"), "a1");
  EXPECT_EQ(first_host("gpu[003-006,9],login1"), "gpu003");
  EXPECT_EQ(first_host("rack[2,4]n[01-16].cluster,x"), "rack2n01.cluster");
  EXPECT_EQ(first_host("broken[12"), "broken12");
  EXPECT_EQ(first_host(""), "");
}

}  // namespace
}  // namespace tristill::train
