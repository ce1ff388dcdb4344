#include "train/device/taught_rows.h"

#include <algorithm>

namespace tristill::train::device {
namespace {

using torch::Tensor;

template <class T>
Tensor brought(const std::vector<T>& values, at::ScalarType type, torch::Device device) {
  // from_blob takes no const, and to() only reads; copied, because to() may be nothing to do.
  const Tensor here = at::from_blob(const_cast<T*>(values.data()),
                                    {static_cast<int64_t>(values.size())}, at::dtype(type));
  return here.to(device, type, /*non_blocking=*/false, /*copy=*/true);
}

}  // namespace

TeacherOnDevice::TeacherOnDevice(const TeacherTargets& teacher, torch::Device device)
    : teacher_(teacher) {
  if (teacher.rows.empty()) return;
  static_assert(sizeof(size_t) == sizeof(int64_t));
  rows_ = brought(teacher.rows, at::kLong, device);
  offsets_ = brought(teacher.offsets, at::kLong, device);
  ids_ = brought(teacher.ids, at::kInt, device);
  logprobs_ = brought(teacher.logprobs, at::kFloat, device);
  sampled_ = brought(teacher.sampled, at::kByte, device).to(at::kBool);
}

TaughtRows TeacherOnDevice::between(int64_t begin, int64_t end) const {
  const auto& rows = teacher_.rows;
  const int64_t first = std::ranges::lower_bound(rows, begin) - rows.begin();
  const int64_t last = std::ranges::lower_bound(rows, end) - rows.begin();
  if (first == last) return {};
  size_t longest = 0;
  for (auto i = static_cast<size_t>(first); i < static_cast<size_t>(last); ++i) {
    longest = std::max(longest, teacher_.offsets[i + 1] - teacher_.offsets[i]);
  }
  const Tensor from = offsets_.slice(0, first, last).unsqueeze(1);
  TaughtRows found;
  found.rows = rows_.slice(0, first, last) - begin;
  found.count = offsets_.slice(0, first + 1, last + 1) - from.squeeze(1);
  found.sampled = sampled_.slice(0, first, last);
  const Tensor place = at::arange(static_cast<int64_t>(longest), offsets_.options()).unsqueeze(0);
  found.is_there = place.lt(found.count.unsqueeze(1));
  const Tensor at = at::where(found.is_there, from + place, from).reshape({-1});
  const auto shape = found.is_there.sizes();
  found.ids = ids_.index_select(0, at).to(at::kLong).view(shape);
  found.logprobs = logprobs_.index_select(0, at)
                       .to(at::kDouble)
                       .view(shape)
                       .clamp_min(kNothing)
                       .masked_fill_(found.is_there.logical_not(), kNothing);
  return found;
}

}  // namespace tristill::train::device
