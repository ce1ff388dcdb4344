#include "client/metrics_text.h"

#include <charconv>
#include <cmath>
#include <limits>

namespace tristill::client {
namespace {

// Takes what is at the front of a line; every read past the end gives nothing.
class LineReader {
 public:
  explicit LineReader(std::string_view line) : rest_(line) {}

  void skip_blanks() {
    rest_.remove_prefix(std::min(rest_.find_first_not_of(" \t"), rest_.size()));
  }
  bool take(char c) {
    if (!rest_.starts_with(c)) return false;
    rest_.remove_prefix(1);
    return true;
  }
  std::string_view until(std::string_view any_of) {
    const std::string_view word = rest_.substr(0, rest_.find_first_of(any_of));
    rest_.remove_prefix(word.size());
    return word;
  }
  // A text in quotes; \\, \" and \n stand for themselves and a line end.
  std::optional<std::string> quoted() {
    if (!take('"')) return std::nullopt;
    std::string text;
    while (!rest_.empty()) {
      const char c = rest_.front();
      rest_.remove_prefix(1);
      if (c == '"') return text;
      if (c == '\\' && !rest_.empty()) {
        text += rest_.front() == 'n' ? '\n' : rest_.front();
        rest_.remove_prefix(1);
      } else {
        text += c;
      }
    }
    return std::nullopt;
  }

 private:
  std::string_view rest_;
};

// from_chars knows inf and nan, but no sign before them.
std::optional<double> number_in(std::string_view word) {
  if (word.starts_with('+')) word.remove_prefix(1);
  double value = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (error != std::errc() || end != word.data() + word.size()) return std::nullopt;
  return value;
}

bool read_labels(LineReader& in, Labels& labels) {
  while (true) {
    in.skip_blanks();
    if (in.take('}')) return true;
    std::string name(in.until(" \t=}"));
    in.skip_blanks();
    if (name.empty() || !in.take('=')) return false;
    in.skip_blanks();
    auto value = in.quoted();
    if (!value) return false;
    labels[std::move(name)] = std::move(*value);
    in.skip_blanks();
    in.take(',');
  }
}

std::optional<Sample> sample_in(std::string_view line) {
  LineReader in(line);
  in.skip_blanks();
  Sample sample;
  sample.name = in.until(" \t{");
  if (sample.name.empty() || sample.name.front() == '#') return std::nullopt;
  if (in.take('{') && !read_labels(in, sample.labels)) return std::nullopt;
  in.skip_blanks();
  const auto value = number_in(in.until(" \t"));
  if (!value) return std::nullopt;
  sample.value = *value;
  return sample;
}

bool has_labels(const Sample& sample, const Labels& wanted) {
  for (const auto& [name, value] : wanted) {
    const auto found = sample.labels.find(name);
    if (found == sample.labels.end() || found->second != value) return false;
  }
  return true;
}

}  // namespace

std::vector<Sample> parse_metrics(std::string_view text, size_t max_samples) {
  std::vector<Sample> samples;
  while (!text.empty() && samples.size() < max_samples) {
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (auto sample = sample_in(line)) samples.push_back(std::move(*sample));
  }
  return samples;
}

std::optional<double> sum_of(const std::vector<Sample>& samples, const std::string& name,
                             const Labels& wanted) {
  std::optional<double> sum;
  for (const Sample& sample : samples) {
    if (sample.name != name || !has_labels(sample, wanted)) continue;
    sum = sum.value_or(0) + sample.value;
  }
  return sum;
}

Histogram histogram_of(const std::vector<Sample>& samples, const std::string& name) {
  Histogram histogram;
  for (const Sample& sample : samples) {
    if (sample.name != name + "_bucket") continue;
    const auto bound = sample.labels.find("le");
    const auto value = bound == sample.labels.end() ? std::nullopt : number_in(bound->second);
    if (value && !std::isnan(*value)) histogram.at_most[*value] += sample.value;
  }
  return histogram;
}

Histogram operator-(const Histogram& later, const Histogram& earlier) {
  if (later.count() < earlier.count()) return later;
  Histogram between = later;
  for (auto& [bound, count] : between.at_most) {
    const auto before = earlier.at_most.find(bound);
    if (before != earlier.at_most.end()) count -= before->second;
  }
  return between;
}

std::optional<double> quantile(const Histogram& histogram, double q) {
  const double rank = q * histogram.count();
  if (!(histogram.count() > 0)) return std::nullopt;
  double low = 0;
  double below = 0;
  for (const auto& [bound, count] : histogram.at_most) {
    if (count >= rank && count > below) {
      if (std::isinf(bound)) return low;
      return low + (bound - low) * (rank - below) / (count - below);
    }
    below = count;
    if (!std::isinf(bound)) low = bound;
  }
  return low;
}

}  // namespace tristill::client
