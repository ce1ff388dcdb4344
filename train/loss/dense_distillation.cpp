#include "train/loss/dense_distillation.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "model/kernels/kernels.h"
#include "train/loss/bin_pair.h"
#include "train/loss/distillation.h"

namespace tristill::train {
namespace {

constexpr float kLeastLog = -100.0F;

// softmax(x / temperature) and its logarithm.
struct Tempered {
  std::vector<float> mass, log;

  Tempered(const float* x, int64_t n, double temperature) : log(x, x + n) {
    const auto inverse = static_cast<float>(1.0 / temperature);
    for (float& value : log) value = std::max(value * inverse, -1e30F);
    const float max = *std::ranges::max_element(log);
    mass = log;
    const double sum = kernels::best().exp_sum(mass.data(), max, static_cast<size_t>(n));
    const float lse = max + static_cast<float>(std::log(sum));
    const auto share = static_cast<float>(1.0 / sum);
    for (size_t i = 0; i < log.size(); ++i) {
      mass[i] *= share;
      log[i] = std::max(log[i] - lse, kLeastLog);
    }
  }
};

[[gnu::target_clones("avx512f", "avx2", "default")]]
void add_difference(const float* q, const float* p, float factor, float* out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] += factor * (q[i] - p[i]);
}

// sum from (log_from - log_to)
double divergence_of(const Tempered& from, const Tempered& to) {
  double sum = 0;
  for (size_t i = 0; i < from.mass.size(); ++i) {
    sum += static_cast<double>(from.mass[i]) * (from.log[i] - to.log[i]);
  }
  return sum;
}

double by_bins(const job::DistillationSpec& spec, const Tempered& p, const Tempered& q,
               double factor, float* gradient) {
  const std::vector<double> log_teacher(p.log.begin(), p.log.end());
  const std::vector<double> log_student(q.log.begin(), q.log.end());
  std::vector<double> slopes(log_teacher.size());
  const double loss = diverge(spec, {log_teacher, log_student}, slopes);
  for (size_t i = 0; i < slopes.size(); ++i) gradient[i] += static_cast<float>(factor * slopes[i]);
  return loss;
}

}  // namespace

double add_dense_distillation(const job::DistillationSpec& spec, const float* log_teacher,
                              const float* logits, int64_t vocab, double weight, float* gradient) {
  const Tempered p(log_teacher, vocab, spec.temperature);
  const Tempered q(logits, vocab, spec.temperature);
  const double factor = weight * spec.temperature;
  double loss = 0;
  if (spec.divergence == job::Divergence::forward_kl) {
    loss = divergence_of(p, q);
    add_difference(q.mass.data(), p.mass.data(), static_cast<float>(factor), gradient, vocab);
  } else if (spec.divergence == job::Divergence::reverse_kl) {
    loss = divergence_of(q, p);
    for (size_t i = 0; i < q.mass.size(); ++i) {
      const double slope = q.mass[i] * (q.log[i] - p.log[i] - loss);
      gradient[i] += static_cast<float>(factor * slope);
    }
  } else {
    loss = by_bins(spec, p, q, factor, gradient);
  }
  return loss * spec.temperature * spec.temperature;
}

}  // namespace tristill::train
