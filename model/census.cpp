#include "model/census.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <vector>

#include "model/ternary.h"

namespace tristill {
namespace {

constexpr size_t kCodeBytes = kTernaryBlock / 4;     // of a block, before its scale
constexpr uint64_t kLowBits = 0x5555555555555555ULL;  // of the 32 codes in a word
constexpr size_t kPartRows = 64;

struct RowCounts {
  uint64_t negative = 0, zero = 0, positive = 0;
};

// Codes are T + 1: 0, 1, 2.
void count_codes(const std::byte* block, RowCounts& counts) {
  for (size_t i = 0; i < kCodeBytes; i += sizeof(uint64_t)) {
    uint64_t word = 0;
    std::memcpy(&word, block + i, sizeof(word));
    const auto ones = static_cast<uint64_t>(std::popcount(word & kLowBits));
    const auto twos = static_cast<uint64_t>(std::popcount(word >> 1 & kLowBits));
    counts.zero += ones;
    counts.positive += twos;
    counts.negative += 32 - ones - twos;
  }
}

RowCounts count_row(const IntegerMatrix& matrix, size_t row) {
  RowCounts counts;
  if (matrix.stored_blocks.empty()) {
    const int8_t* values = matrix.row(row);
    for (size_t c = 0; c < matrix.cols; ++c) {
      ++(values[c] == 0 ? counts.zero : values[c] > 0 ? counts.positive : counts.negative);
    }
    return counts;
  }
  const size_t n_blocks = ternary_blocks_of(matrix.cols);
  const std::byte* block = matrix.stored_blocks.data() + row * n_blocks * kTernaryBlockBytes;
  for (size_t i = 0; i < n_blocks; ++i) count_codes(block + i * kTernaryBlockBytes, counts);
  counts.zero -= n_blocks * kTernaryBlock - matrix.cols;  // the row's padding
  return counts;
}

TernaryCensus count_rows(const IntegerMatrix& matrix, size_t begin, size_t end) {
  TernaryCensus census;
  for (size_t row = begin; row < end; ++row) {
    const RowCounts counts = count_row(matrix, row);
    census.negative += counts.negative;
    census.zero += counts.zero;
    census.positive += counts.positive;
    if (counts.zero == matrix.cols) ++census.dead_rows;
  }
  return census;
}

std::vector<const IntegerMatrix*> ternary_matrices(const LayerTensors& layer,
                                                   const ModelConfig& config) {
  std::vector<const IntegerMatrix*> matrices;
  if (config.attention_weights() == WeightKind::ternary) {
    matrices = {&layer.q, &layer.k, &layer.v, &layer.o};
  }
  if (config.mlp_weights() == WeightKind::ternary) {
    for (const auto* matrix : {&layer.gate, &layer.up, &layer.down}) matrices.push_back(matrix);
  }
  return matrices;
}

}  // namespace

TernaryCensus take_census(const ModelTensors& tensors, ThreadTeam& team) {
  TernaryCensus sum;
  if (tensors.config.weights != WeightKind::ternary) return sum;
  double scales = 0;
  for (const LayerTensors& layer : tensors.layers) {
    for (const IntegerMatrix* matrix : ternary_matrices(layer, tensors.config)) {
      std::vector<TernaryCensus> parts((matrix->rows + kPartRows - 1) / kPartRows);
      team.for_each(parts.size(), 1, [&](size_t i, uint32_t) {
        parts[i] = count_rows(*matrix, i * kPartRows, std::min(matrix->rows, (i + 1) * kPartRows));
      });
      for (const TernaryCensus& part : parts) {
        sum.negative += part.negative;
        sum.zero += part.zero;
        sum.positive += part.positive;
        sum.dead_rows += part.dead_rows;
      }
      sum.rows += matrix->rows;
      ++sum.matrices;
      scales += static_cast<double>(matrix->scale[0]);
    }
  }
  if (sum.matrices > 0) sum.mean_scale = scales / static_cast<double>(sum.matrices);
  return sum;
}

}  // namespace tristill
