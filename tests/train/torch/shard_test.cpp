// Ranks as threads of this process that meet in a file: what goes between them, bit for bit.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <mutex>
#include <set>
#include <thread>

#include "tests/support/test_model.h"
#include "train/distributed/shard_exchange.h"
#include "train/optim/optimizer.h"

namespace tristill::train {
namespace {

namespace fs = std::filesystem;
using torch::Tensor;

constexpr std::chrono::seconds kWait{60};

// Runs work(group) on `size` ranks at once, with one thread each.
void on_ranks(int size, const std::function<void(RankGroup&)>& work) {
  std::string name = (fs::temp_directory_path() / "tristill-ranks-XXXXXX").string();
  const fs::path folder = ::mkdtemp(name.data());
  std::vector<std::thread> threads;
  for (int rank = 0; rank < size; ++rank) {
    threads.emplace_back([&, rank] {
      at::set_num_threads(1);
      RankGroup group({.rank = rank, .size = size, .store_file = (folder / "store").string()},
                      kWait);
      work(group);
    });
  }
  for (std::thread& thread : threads) thread.join();
  fs::remove_all(folder);
}

TEST(ShareOut, GivesTheLargestFirstAndEqualOnesInOrder) {
  EXPECT_EQ(share_out({5, 9, 4, 1, 9}, 2), (std::vector<int>{0, 0, 1, 1, 1}));
  EXPECT_EQ(share_out({1, 1, 1}, 1), (std::vector<int>{0, 0, 0}));
}

TEST(ShareOut, AMatrixOfMuonsCostsByItsShorterSide) {
  EXPECT_EQ(step_cost(1000, 0), 1000);
  EXPECT_EQ(step_cost(1000, 128), 17000);
}

TEST(ShardLayout, NeighboursOfEveryLevelHoldOneRange) {
  const std::vector<int> owners = {0, 1, 2, 3, 3};
  const ShardLayout layout({64, 1, 100, 64, 10}, owners, 4);
  EXPECT_EQ(layout.total(), 64 + 64 + 128 + 64 + 64);
  EXPECT_EQ(layout.levels(), 2);
  for (int rank = 0; rank < 4; ++rank) {
    EXPECT_EQ(layout.part(rank, 0).size(), layout.total());
    const auto own = layout.part(rank, 2);
    const auto half = layout.part(rank, 1);
    const auto of_partner = layout.part(rank ^ 2, 2);
    EXPECT_EQ(own.size() + of_partner.size(), half.size());
    EXPECT_EQ(std::min(own.begin, of_partner.begin), half.begin);
    for (size_t i = 0; i < owners.size(); ++i) {
      const bool inside = own.begin <= layout.offset(i) && layout.offset(i) < own.end;
      EXPECT_EQ(inside, owners[i] == rank) << i;
    }
  }
  std::set<int64_t> offsets;
  for (size_t i = 0; i < owners.size(); ++i) offsets.insert(layout.offset(i));
  EXPECT_EQ(offsets.size(), owners.size());
}

TEST(RankGroup, AddsUpAlongTheTreeOnEveryRank) {
  const double values[] = {1e16, 1.0, -1e16, 3.0};
  on_ranks(4, [&](RankGroup& group) {
    Tensor numbers = at::full({1}, values[group.rank()], at::kDouble);
    group.add_up(numbers);
    EXPECT_EQ(numbers.item<double>(), (values[0] + values[1]) + (values[2] + values[3]));
  });
}

TEST(RankGroup, MovesAndBroadcasts) {
  on_ranks(2, [](RankGroup& group) {
    Tensor tensor = at::full({5}, group.rank(), at::kLong);
    group.move(tensor, 1, 0);
    EXPECT_TRUE(tensor.eq(1).all().item<bool>());
    Tensor given = at::full({3}, group.rank() + 7, at::kFloat);
    group.broadcast(given);
    EXPECT_TRUE(given.eq(7).all().item<bool>());
  });
}

TEST(RankGroup, ALostRankIsAnErrorThatNamesIt) {
  on_ranks(2, [](RankGroup& group) {
    if (group.rank() == 1) return;
    Tensor numbers = at::zeros({1});
    try {
      group.add_up(numbers);
      ADD_FAILURE() << "rank 1 answered";
    } catch (const RankLost& lost) {
      EXPECT_NE(std::string(lost.what()).find("rank 1"), std::string::npos) << lost.what();
    }
  });
}

ModelConfig tiny() { return test::random_model({.seed = 1}).config; }

std::vector<int> owners_of(const Student& student, int ranks) {
  std::vector<int64_t> sizes;
  for (const auto& parameter : student.parameters()) sizes.push_back(parameter.tensor.numel());
  return share_out(sizes, ranks);
}

// What micro-batch i could have given.
Gradients leaf(const Student& student, int i) {
  Gradients made{{}, {.ce = 0.1 * i, .tokens = i}};
  auto generator = at::detail::createCPUGenerator(static_cast<uint64_t>(i) + 10);
  for (const NamedParameter& parameter : student.parameters()) {
    made.tensors.push_back(at::randn(parameter.tensor.sizes(), generator));
  }
  return made;
}

TEST(ShardExchange, OwnersGetTheGradientsOfTheWholeTree) {
  const Student reference(tiny(), true, at::kFloat, 1);
  GradientTree tree;
  for (int i = 0; i < 8; ++i) tree.add(leaf(reference, i));
  const Gradients whole = tree.take();
  on_ranks(4, [&](RankGroup& group) {
    Student student(tiny(), true, at::kFloat, 1);
    const auto owners = owners_of(student, 4);
    ShardExchange exchange(student, owners, group);
    GradientTree branch;
    for (int i = 0; i < 2; ++i) branch.add(leaf(student, 2 * group.rank() + i));
    int64_t votes = group.rank() == 2 ? 1 : 0;
    const LossSums sums = exchange.reduce(branch.take(), votes);
    EXPECT_EQ(votes, 1);
    EXPECT_EQ(sums.ce, whole.sums.ce);
    EXPECT_EQ(sums.tokens, 28);
    for (size_t i = 0; i < owners.size(); ++i) {
      const Tensor grad = student.parameters()[i].tensor.grad();
      ASSERT_EQ(grad.defined(), owners[i] == group.rank());
      if (grad.defined()) {
        EXPECT_TRUE(grad.equal(whole.tensors[i])) << student.parameters()[i].name;
      }
    }
  });
}

// Each owner changes what it owns; all then compute with what one process would.
void expect_spread_equals_refresh(bool quantized, double strength) {
  Student reference(tiny(), quantized, at::kBFloat16, 1);
  Student changed(tiny(), quantized, at::kBFloat16, 2);
  changed.set_strength(strength);
  changed.refresh();
  on_ranks(2, [&](RankGroup& group) {
    const torch::NoGradGuard no_grad;
    Student student(tiny(), quantized, at::kBFloat16, 1);
    student.set_strength(strength);
    const auto owners = owners_of(student, 2);
    ShardExchange exchange(student, owners, group);
    for (size_t i = 0; i < owners.size(); ++i) {
      if (owners[i] != group.rank()) continue;
      torch::Tensor(student.parameters()[i].tensor).copy_(changed.parameters()[i].tensor);
    }
    exchange.spread();
    const auto got = student.weights();
    const auto expected = changed.weights();
    for (size_t i = 0; i < got.size(); ++i) {
      EXPECT_TRUE(got[i]->dequantized().equal(expected[i]->dequantized())) << i;
      if (!quantized) continue;
      EXPECT_TRUE(got[i]->values().equal(expected[i]->values())) << i;
      EXPECT_TRUE(got[i]->scale().equal(expected[i]->scale())) << i;
      EXPECT_TRUE(got[i]->row_sum().equal(expected[i]->row_sum())) << i;
    }
    exchange.gather();
    if (!group.leads()) return;
    for (size_t i = 0; i < owners.size(); ++i) {
      EXPECT_TRUE(student.parameters()[i].tensor.equal(changed.parameters()[i].tensor)) << i;
    }
  });
}

TEST(ShardExchange, PackedWeightsAreThoseOfOneRank) { expect_spread_equals_refresh(true, 1.0); }
TEST(ShardExchange, PartlyQuantizedWeightsGoInFullPrecision) {
  expect_spread_equals_refresh(true, 0.25);
}
TEST(ShardExchange, DenseWeightsGoInFullPrecision) { expect_spread_equals_refresh(false, 1.0); }

job::OptimizerSpec spec_with_all_state() {
  job::OptimizerSpec spec;
  spec.norm_pinning = true;
  spec.newton_schulz_steps = 1;
  return spec;
}

// Three steps of one optimiser on gradients of its own making.
void step_thrice(const Student& student, Optimizer& optimizer, const RankGroup* group,
                 const std::vector<int>& owners) {
  for (int step = 0; step < 3; ++step) {
    const Gradients made = leaf(student, step);
    for (size_t i = 0; i < made.tensors.size(); ++i) {
      if (group != nullptr && owners[i] != group->rank()) continue;
      torch::Tensor(student.parameters()[i].tensor).mutable_grad() = made.tensors[i];
    }
    optimizer.step(1.0);
  }
}

TEST(SharedOptimizer, StateGatheredFromOwnersIsThatOfOneRankAndGoesBack) {
  at::set_num_threads(1);
  const Student reference(tiny(), true, at::kFloat, 1);
  Optimizer alone(spec_with_all_state(), reference.parameters(), at::kFloat);
  step_thrice(reference, alone, nullptr, {});
  const auto expected = alone.state();
  const Student again(tiny(), true, at::kFloat, 3);
  Optimizer more(spec_with_all_state(), again.parameters(), at::kFloat);
  ASSERT_TRUE(more.load_state(expected));
  step_thrice(again, more, nullptr, {});
  const auto expected_more = more.state();
  on_ranks(2, [&](RankGroup& group) {
    const auto owners = owners_of(reference, 2);
    const Student student(tiny(), true, at::kFloat, 1);
    Optimizer optimizer(spec_with_all_state(), student.parameters(), at::kFloat, {owners, &group});
    step_thrice(student, optimizer, &group, owners);
    const auto state = optimizer.state();
    if (group.leads()) {
      ASSERT_EQ(state.size(), expected.size());
      for (const auto& [name, tensor] : expected) EXPECT_TRUE(state.at(name).equal(tensor)) << name;
    }
    const Student other(tiny(), true, at::kFloat, 3);
    Optimizer resumed(spec_with_all_state(), other.parameters(), at::kFloat, {owners, &group});
    if (group.leads()) {
      EXPECT_TRUE(resumed.load_state(expected));
    }
    resumed.scatter_state();
    step_thrice(other, resumed, &group, owners);
    const auto later = resumed.state();
    if (!group.leads()) return;
    for (const auto& [name, tensor] : expected_more) {
      EXPECT_TRUE(later.at(name).equal(tensor)) << name;
    }
  });
}

}  // namespace
}  // namespace tristill::train
