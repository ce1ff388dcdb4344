#include "train/loss/attention_relation.h"

#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"

namespace tristill::train {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

// What a row of a sequence may not see, [T, T]: later tokens and other segments.
Tensor hidden_from(const Tensor& starts) {
  const int64_t n = starts.size(0);
  const Tensor column = at::arange(n, starts.options()).unsqueeze(0);
  const Tensor row = column.t();
  return column.gt(row).logical_or(column.lt(starts.unsqueeze(1)));
}

// log softmax of a head's relations; a [T, d_r].
Tensor log_relations(const Tensor& a, const Tensor& hidden) {
  const double scale = 1.0 / std::sqrt(static_cast<double>(a.size(1)));
  return (at::mm(a, a.t()) * scale)
      .masked_fill(hidden, -std::numeric_limits<float>::infinity())
      .log_softmax(1);
}

// One head of one kind of state of one sequence.
struct Head {
  const Tensor& student;  // [T, d_s]
  const Tensor& teacher;  // [T, d_t]
  const Tensor& hidden;   // [T, T]
  double weight;          // 1 / count
};

// The head's share of the loss, a scalar in fp64; its gradient is added to grad [T, d_s].
Tensor add_head(const Head& head, Tensor grad) {
  const Tensor log_teacher = log_relations(head.teacher, head.hidden);
  const Tensor log_student = log_relations(head.student, head.hidden);
  const Tensor p = log_teacher.exp();
  const Tensor q = log_student.exp();
  const Tensor difference = (log_teacher - log_student).masked_fill(head.hidden, 0.0);
  const double scale = head.weight / std::sqrt(static_cast<double>(head.student.size(1)));
  const Tensor d_scores = (q - p) * scale;
  grad.add_(at::mm(d_scores + d_scores.t(), head.student));
  return (p * difference).sum().to(at::kDouble) * head.weight;
}

struct RelationLoss : torch::autograd::Function<RelationLoss> {
  static Variable forward(AutogradContext* ctx, const Variable& student, const Tensor& teacher,
                          const RelatedTokens* tokens, int64_t n_heads) {
    const Tensor& segment_start = tokens->segment_start;
    const int64_t row_tokens = segment_start.size(1);
    const int64_t d_student = student.size(1) / n_heads;
    const int64_t d_teacher = teacher.size(1) / n_heads;
    const double weight = 1.0 / static_cast<double>(std::max<int64_t>(tokens->count, 1) * n_heads);
    Tensor grad = at::zeros_like(student);
    Tensor loss = at::zeros({}, student.options().dtype(at::kDouble));
    for (int64_t b = 0; b < segment_start.size(0); ++b) {
      const int64_t n = tokens->lengths[static_cast<size_t>(b)];
      if (n == 0) continue;
      const Tensor hidden = hidden_from(segment_start[b].slice(0, 0, n));
      const auto of = [&](const Tensor& states, int64_t head, int64_t width) {
        return states.slice(0, b * row_tokens, b * row_tokens + n)
            .slice(1, head * width, (head + 1) * width);
      };
      for (int64_t h = 0; h < n_heads; ++h) {
        loss += add_head({of(student, h, d_student), of(teacher, h, d_teacher), hidden, weight},
                         of(grad, h, d_student));
      }
    }
    ctx->save_for_backward({grad});
    return loss.to(at::kFloat);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    return {ctx->get_saved_variables()[0] * grads[0], Variable(), Variable(), Variable()};
  }
};

}  // namespace

RelatedTokens related_tokens(const Tensor& labels, const Tensor& segment_start) {
  CHECK(labels.sizes() == segment_start.sizes() && labels.is_contiguous());
  CHECK(segment_start.is_contiguous() && segment_start.scalar_type() == at::kInt);
  const int64_t n_tokens = labels.size(1);
  RelatedTokens tokens{segment_start, {}, 0};
  for (int64_t b = 0; b < labels.size(0); ++b) {
    const auto* label = labels.data_ptr<int64_t>() + b * n_tokens;
    const auto* start = segment_start.data_ptr<int32_t>() + b * n_tokens;
    int64_t n = n_tokens;
    while (n > 0 && label[n - 1] < 0) --n;
    while (n > 0 && n < n_tokens && start[n] == start[n - 1]) ++n;
    tokens.lengths.push_back(n);
    tokens.count += n;
  }
  return tokens;
}

Tensor attention_relation_loss(const AttentionStates& student, const AttentionStates& teacher,
                               const RelatedTokens& given, int64_t n_heads) {
  RelatedTokens tokens = given;
  tokens.segment_start = given.segment_start.to(student[0].device());
  const int64_t n = tokens.segment_start.numel();
  CHECK(static_cast<int64_t>(tokens.lengths.size()) == tokens.segment_start.size(0));
  Tensor loss;
  for (size_t i = 0; i < student.size(); ++i) {
    CHECK(student[i].size(0) == n && teacher[i].size(0) == n);
    CHECK(student[i].size(1) % n_heads == 0 && teacher[i].size(1) % n_heads == 0);
    const Tensor part = RelationLoss::apply(student[i], teacher[i], &tokens, n_heads);
    loss = loss.defined() ? loss + part : part;
  }
  return loss / static_cast<double>(student.size());
}

}  // namespace tristill::train
