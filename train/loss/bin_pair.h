// Teacher and student over the same bins, and the way back through the student's softmax.
// Pure; any thread.
#pragma once

#include <span>

namespace tristill::train {

// Natural logarithms p of the teacher and q of the student, one a bin; each sums to 1. All are
// finite: what is as good as impossible has a logarithm of -100, so no product below is a NaN.
struct BinPair {
  std::span<const double> log_teacher, log_student;
};

// slopes d L / d q_i become d L / d v_i where q = softmax(v): q_i (h_i - sum_k q_k h_k).
void chain_through_softmax(std::span<const double> log_student, std::span<double> slopes);

}  // namespace tristill::train
