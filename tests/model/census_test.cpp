#include "model/census.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "model/weights.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/test_model.h"

namespace tristill {
namespace {

// Of all linear layers, by the plain values.
TernaryCensus counted_one_by_one(const ModelTensors& tensors) {
  TernaryCensus census;
  for (const LayerTensors& layer : tensors.layers) {
    for (const auto* matrix :
         {&layer.q, &layer.k, &layer.v, &layer.o, &layer.gate, &layer.up, &layer.down}) {
      for (const int8_t value : unpacked_values(*matrix)) {
        ++(value < 0 ? census.negative : value == 0 ? census.zero : census.positive);
      }
    }
  }
  return census;
}

TEST(Census, CountsEveryWeightByItsValue) {
  const ModelTensors tensors = test::random_model({.seed = 1});
  const TernaryCensus expected = counted_one_by_one(tensors);
  ASSERT_GT(expected.zero, 0U);
  ThreadTeam team(2);
  const TernaryCensus census = take_census(tensors, team);
  EXPECT_EQ(census.negative, expected.negative);
  EXPECT_EQ(census.zero, expected.zero);
  EXPECT_EQ(census.positive, expected.positive);
  EXPECT_EQ(census.weights(), count_parameters(tensors.config).linear);
  EXPECT_EQ(census.matrices, tensors.layers.size() * 7);
  EXPECT_EQ(census.mean_scale > 0, true);
}

TEST(Census, OfAFileIsThatOfItsTensors) {
  ModelTensors tensors = test::random_model({.seed = 2});
  IntegerMatrix& up = tensors.layers[0].up;
  std::fill_n(up.values.begin() + static_cast<std::ptrdiff_t>(3 * up.cols), up.cols, int8_t{0});
  ThreadTeam team(2);
  const TernaryCensus before = take_census(tensors, team);
  EXPECT_EQ(before.dead_rows, 1U);
  const tests::TemporaryFolder folder;
  const auto path = folder.path() / "m.gguf";
  ASSERT_TRUE(write_model_file(path, tensors, *test::tiny_tokenizer(), {}));
  const auto model = load_model(path);
  ASSERT_TRUE(model) << model.error().message;
  const TernaryCensus& after = (*model)->census;
  EXPECT_EQ(after.negative, before.negative);
  EXPECT_EQ(after.zero, before.zero);
  EXPECT_EQ(after.positive, before.positive);
  EXPECT_EQ(after.rows, before.rows);
  EXPECT_EQ(after.dead_rows, 1U);
  EXPECT_EQ(after.mean_scale, before.mean_scale);
  const double bits =
      8.0 * static_cast<double>((*model)->linear_bytes) / static_cast<double>(after.weights());
  EXPECT_GT(bits, 1.5);
  EXPECT_LT(bits, 3);
}

}  // namespace
}  // namespace tristill
