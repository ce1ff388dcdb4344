#include "train/run/loss_scale.h"

#include <algorithm>
#include <cmath>

namespace tristill::train {

bool LossScale::count(double loss, double norm) {
  if (!used_) return false;
  if (!std::isfinite(norm)) {
    if (!std::isfinite(loss) || scale_ <= 1) return false;
    scale_ /= 2;
    good_ = 0;
    ++skipped_;
    return true;
  }
  if (++good_ < kPatience) return false;
  scale_ = std::min(2 * scale_, kMost);
  good_ = 0;
  return false;
}

std::vector<double> LossScale::to_numbers() const {
  return {scale_, static_cast<double>(good_), static_cast<double>(skipped_)};
}

Result<void> LossScale::from_numbers(const std::vector<double>& numbers) {
  const auto is_count = [](double n) { return n >= 0 && n < 0x1p53 && n == std::floor(n); };
  const bool whole = numbers.size() == kNumbers && numbers[0] >= 1 && numbers[0] <= kMost &&
                     is_count(numbers[1]) && is_count(numbers[2]);
  if (!whole) {
    return Error{ErrorCode::corrupt, "checkpoint has a loss scale that is none", "checkpoint"};
  }
  if (!used_) return {};
  scale_ = numbers[0];
  good_ = static_cast<int64_t>(numbers[1]);
  skipped_ = static_cast<int64_t>(numbers[2]);
  return {};
}

}  // namespace tristill::train
