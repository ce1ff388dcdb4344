#include "train/run/gradient_tree.h"

#include "base/check.h"

namespace tristill::train {

Gradients& Gradients::operator+=(const Gradients& right) {
  CHECK(tensors.size() == right.tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i) tensors[i].add_(right.tensors[i]);
  sums += right.sums;
  return *this;
}

void GradientTree::add(Gradients leaf) {
  Branch right{std::move(leaf), 1};
  while (!branches_.empty() && branches_.back().leaves == right.leaves) {
    Branch left = std::move(branches_.back());
    branches_.pop_back();
    left.sum += right.sum;
    left.leaves *= 2;
    right = std::move(left);
  }
  branches_.push_back(std::move(right));
}

Gradients GradientTree::take() {
  CHECK(branches_.size() == 1);
  Gradients whole = std::move(branches_[0].sum);
  branches_.clear();
  return whole;
}

}  // namespace tristill::train
