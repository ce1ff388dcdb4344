#include "train/run/micro_batch.h"

#include "base/check.h"

namespace tristill::train {
namespace {

DenseTargets own_words(const Batch& batch, int64_t begin, int64_t end) {
  if (batch.dense.own.empty()) return {};
  const int64_t columns = batch.tokens.size(1);
  const auto first = batch.dense.own.begin();
  return {{}, {first + begin * columns, first + end * columns}};
}

}  // namespace

Batch rows_of(const Batch& batch, int64_t begin, int64_t end) {
  CHECK(0 <= begin && begin < end && end <= batch.tokens.size(0));
  const int64_t columns = batch.tokens.size(1);
  return {batch.tokens.slice(0, begin, end),
          batch.labels.slice(0, begin, end),
          batch.segment_start.slice(0, begin, end),
          batch.teacher.between(begin * columns, end * columns),
          0,
          own_words(batch, begin, end),
          {}};
}

}  // namespace tristill::train
