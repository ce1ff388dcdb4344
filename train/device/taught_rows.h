// The teacher's targets of a batch on the device, and those of a chunk as a rectangle: lists of
// different lengths are filled up, so that all rows of a chunk are one operation. Trainer's thread.
#pragma once

#include <torch/types.h>

#include "train/loss/teacher_targets.h"

namespace tristill::train::device {

// R rows of at most K bins.
struct TaughtRows {
  torch::Tensor rows;  // [R] int64, of the chunk
  torch::Tensor ids;  // [R, K] int64; filled up with the row's first
  torch::Tensor logprobs;  // [R, K] fp64; filled up with "nothing"
  torch::Tensor is_there;  // [R, K] bool; false where it was filled up
  torch::Tensor count;  // [R] int64
  torch::Tensor sampled;  // [R] bool
  int64_t size() const { return rows.defined() ? rows.size(0) : 0; }
};

class TeacherOnDevice {
 public:
  TeacherOnDevice(const TeacherTargets& teacher, torch::Device device);
  // Those of the flat tokens [begin, end).
  TaughtRows between(int64_t begin, int64_t end) const;

 private:
  const TeacherTargets& teacher_;
  torch::Tensor rows_, offsets_, ids_, logprobs_, sampled_;
};

constexpr double kNothing = -1e30;  // log of an empty bin: no temperature makes it likely

}  // namespace tristill::train::device
