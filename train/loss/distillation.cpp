#include "train/loss/distillation.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "train/loss/forward_kl.h"
#include "train/loss/jsd.h"
#include "train/loss/reverse_kl.h"
#include "train/loss/skew_kl.h"
#include "train/loss/teacher_targets.h"

namespace tristill::train {
namespace {

constexpr double kNothing = -1e30;   // log of an empty bin: no temperature makes it likely
constexpr double kLeastLog = -100;   // of a bin once tempered

// log softmax(x / temperature), bounded below.
void temper(std::vector<double>& x, double temperature) {
  const double top = *std::ranges::max_element(x);
  double sum = 0;
  for (double& value : x) {
    value = (value - top) / temperature;
    sum += std::exp(value);
  }
  for (double& value : x) value = std::max(value - std::log(sum), kLeastLog);
}

}  // namespace

double diverge(const job::DistillationSpec& spec, const BinPair& bins, std::span<double> gradient) {
  switch (spec.divergence) {
    case job::Divergence::forward_kl: return forward_kl(bins, gradient);
    case job::Divergence::reverse_kl: return reverse_kl(bins, gradient);
    case job::Divergence::jsd: return jensen_shannon(bins, spec.jsd_beta, gradient);
    case job::Divergence::skew_kl: return skew_kl(bins, spec.skew_alpha, gradient);
    case job::Divergence::skew_reverse_kl: return skew_reverse_kl(bins, spec.skew_alpha, gradient);
  }
  CHECK(false);
}

DistilledToken distil(const job::DistillationSpec& spec, std::span<const float> logprobs,
                      const StudentMasses& student) {
  CHECK(!logprobs.empty() && logprobs.size() == student.listed.size());
  const bool has_other = spec.tail != job::Tail::ignore && student.log_tail.has_value();
  std::vector<double> log_teacher(logprobs.size());
  for (size_t i = 0; i < logprobs.size(); ++i) {
    log_teacher[i] = std::max<double>(logprobs[i], kNothing);
  }
  // A logit of minus infinity is nothing as well; a NaN stays one and is seen in the loss.
  std::vector<double> log_student = student.listed;
  for (double& value : log_student) value = std::max(value, kNothing);
  if (has_other) {
    log_teacher.push_back(spec.tail == job::Tail::counts ? kNothing : log_other(logprobs));
    log_student.push_back(std::max(*student.log_tail, kNothing));
  }
  temper(log_teacher, spec.temperature);
  temper(log_student, spec.temperature);
  DistilledToken token;
  token.on_list.resize(log_student.size());
  token.loss = diverge(spec, {log_teacher, log_student}, token.on_list);
  token.loss *= spec.temperature * spec.temperature;
  for (double& slope : token.on_list) slope *= spec.temperature;
  if (has_other) {
    token.off_list = token.on_list.back();
    token.on_list.pop_back();
  }
  return token;
}

}  // namespace tristill::train
