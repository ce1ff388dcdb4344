// TeacherTargets: the teacher's distributions for some tokens of a batch, in flat storage. Plain
// data behind one door that keeps it sound; one thread at a time.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace tristill::train {

// Row i belongs to flat token rows[i]: the distribution over its successor, as its label.
struct TeacherTargets {
  std::vector<int64_t> rows;          // ascending, distinct
  std::vector<size_t> offsets = {0};  // size rows + 1, into ids and logprobs
  std::vector<int32_t> ids;           // distinct in a row
  std::vector<float> logprobs;        // natural log, at temperature 1
  std::vector<uint8_t> sampled;       // one a row: the label was drawn from the teacher at that

  // Adds a row after all others. An id given twice is one token with both probabilities. A list
  // without any probability says P(other) = 1, which is what padding says: no row is added.
  void add(int64_t row, std::span<const int32_t> ids, std::span<const float> logprobs,
           bool sampled);

  // The rows in [first, end), numbered from first.
  TeacherTargets between(int64_t first, int64_t end) const;
};

// log(1 - sum exp(logprobs)): what a list leaves to all other tokens, at least log 1e-6, since
// nearer to 1 a sum of rounded probabilities says nothing.
double log_other(std::span<const float> logprobs);

}  // namespace tristill::train
