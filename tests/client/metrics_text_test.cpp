#include "client/metrics_text.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace tristill::client {
namespace {

TEST(ParseMetrics, TakesNamesLabelsAndValues) {
  const auto samples = parse_metrics(
      "# HELP a_total words\n# TYPE a_total counter\n"
      "a_total 3\n"
      "vllm:b{model_name=\"x\",le=\"+Inf\"} 4.5e1 1700000000\r\n"
      "c{ q = \"a\\\"b\\\\c\\nd\" , } -1\n"
      "\n"
      "d NaN");
  ASSERT_EQ(samples.size(), 4U);
  EXPECT_EQ(samples[0].name, "a_total");
  EXPECT_EQ(samples[0].value, 3);
  EXPECT_EQ(samples[1].name, "vllm:b");
  EXPECT_EQ(samples[1].labels, (Labels{{"model_name", "x"}, {"le", "+Inf"}}));
  EXPECT_EQ(samples[1].value, 45);
  EXPECT_EQ(samples[2].labels, (Labels{{"q", "a\"b\\c\nd"}}));
  EXPECT_TRUE(std::isnan(samples[3].value));
}

TEST(ParseMetrics, LeavesOutWhatItDoesNotUnderstand) {
  for (const char* text :
       {"", "\n", "name", "name{", "name{a", "name{a=", "name{a=\"", "name{a=\"b", "name{a=\"b\"",
        "name{a=\"b\"}", "name x", "{a=\"b\"} 1", "name{=\"b\"} 1", "name{a=\"\\", "name 1x"}) {
    EXPECT_TRUE(parse_metrics(text).empty()) << text;
  }
}

TEST(ParseMetrics, HasABound) { EXPECT_EQ(parse_metrics("a 1\na 2\na 3\n", 2).size(), 2U); }

TEST(SumOf, AddsWhatHasTheLabels) {
  const auto samples = parse_metrics("a{m=\"x\",r=\"1\"} 1\na{m=\"x\",r=\"2\"} 2\na{m=\"y\"} 4\n");
  EXPECT_EQ(sum_of(samples, "a"), 7);
  EXPECT_EQ(sum_of(samples, "a", {{"m", "x"}}), 3);
  EXPECT_EQ(sum_of(samples, "a", {{"m", "z"}}), std::nullopt);
  EXPECT_EQ(sum_of(samples, "b"), std::nullopt);
}

Histogram histogram(const std::string& counts_by_bound) {
  return histogram_of(parse_metrics(counts_by_bound), "h");
}

TEST(Quantile, LiesEvenlyWithinItsBucket) {
  const Histogram h = histogram(
      "h_bucket{le=\"1\"} 10\nh_bucket{le=\"2\"} 20\nh_bucket{le=\"+Inf\"} 20\nh_count 20\n");
  EXPECT_EQ(h.count(), 20);
  EXPECT_DOUBLE_EQ(*quantile(h, 0.25), 0.5);
  EXPECT_DOUBLE_EQ(*quantile(h, 0.5), 1);
  EXPECT_DOUBLE_EQ(*quantile(h, 0.75), 1.5);
  EXPECT_DOUBLE_EQ(*quantile(h, 1), 2);
}

TEST(Quantile, AddsTheBucketsOfAllLabels) {
  const Histogram h = histogram(
      "h_bucket{m=\"a\",le=\"1\"} 1\nh_bucket{m=\"a\",le=\"+Inf\"} 1\n"
      "h_bucket{m=\"b\",le=\"1\"} 0\nh_bucket{m=\"b\",le=\"+Inf\"} 3\n");
  EXPECT_EQ(h.count(), 4);
  EXPECT_DOUBLE_EQ(*quantile(h, 0.25), 1);
  EXPECT_DOUBLE_EQ(*quantile(h, 0.99), 1) << "beyond the last finite bound";
}

TEST(Quantile, IsNothingWithoutValues) {
  EXPECT_EQ(quantile({}, 0.5), std::nullopt);
  EXPECT_EQ(quantile(histogram("h_bucket{le=\"1\"} 0\nh_bucket{le=\"+Inf\"} 0\n"), 0.5),
            std::nullopt);
}

TEST(HistogramDifference, IsWhatCameBetween) {
  const Histogram earlier = histogram("h_bucket{le=\"1\"} 10\nh_bucket{le=\"+Inf\"} 10\n");
  const Histogram later = histogram("h_bucket{le=\"1\"} 10\nh_bucket{le=\"+Inf\"} 14\n");
  EXPECT_EQ((later - earlier).count(), 4);
  EXPECT_EQ((later - earlier).at_most.at(1), 0);
  EXPECT_EQ((earlier - later).count(), 10) << "after a restart the counters begin again";
}

}  // namespace
}  // namespace tristill::client
