// Metrics as a daemon prints them (Prometheus text format 0.0.4), and what can be computed from
// them. Pure functions. What is not understood is left out: a newer daemon breaks nothing.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tristill::client {

struct Sample {
  std::string name;
  std::map<std::string, std::string> labels;
  double value = 0;
};

// All samples of a text; at most max_samples of them.
std::vector<Sample> parse_metrics(std::string_view text, size_t max_samples = 100000);

// The sum over all samples of this name whose labels have the wanted values; nothing where there
// is none.
using Labels = std::map<std::string, std::string>;
std::optional<double> sum_of(const std::vector<Sample>& samples, const std::string& name,
                             const Labels& wanted = {});

// A histogram over all label sets: how many values were at most each bound, bounds ascending.
struct Histogram {
  std::map<double, double> at_most;  // upper bound (the last is infinity) -> values
  double count() const { return at_most.empty() ? 0 : at_most.rbegin()->second; }
};
Histogram histogram_of(const std::vector<Sample>& samples, const std::string& name);

// What came between two readings; the later one where the daemon was restarted between.
Histogram operator-(const Histogram& later, const Histogram& earlier);

// The value that a share q (0 to 1) of the values is at most, even within a bucket, as
// Prometheus' histogram_quantile; the greatest finite bound when it is beyond. Nothing without
// values.
std::optional<double> quantile(const Histogram& histogram, double q);

}  // namespace tristill::client
