#include "train/student/fused_ops.h"

#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cmath>

#include "base/check.h"
#include "model/kernels/kernels.h"
#include "train/device/ops.h"

namespace tristill::train {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

constexpr int64_t kRowGrain = 64;

// One row of the backward pass of y = x * gain * r, r = 1/sqrt(mean(x^2) + eps):
//   dx = r * (dy*gain - x * r^2 * dot(dy*gain, x) / d),   dgain += dy * x * r
[[gnu::target_clones("avx512f", "avx2", "default")]]
void norm_backward_row(const float* x, const float* dy, const float* gain, float r, float dot,
                       float* dx, float* dgain, int64_t d) {
  const float shrink = r * r * dot / static_cast<float>(d);
  for (int64_t i = 0; i < d; ++i) {
    dgain[i] += dy[i] * x[i] * r;
    dx[i] = r * (dy[i] * gain[i] - x[i] * shrink);
  }
}

[[gnu::target_clones("avx512f", "avx2", "default")]]
void multiply(const float* a, const float* b, float* out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = a[i] * b[i];
}

float inverse_rms(const float* x, int64_t d, double eps) {
  const float mean = kernels::best().dot(x, x, static_cast<size_t>(d)) / static_cast<float>(d);
  return 1.0F / std::sqrt(mean + static_cast<float>(eps));
}

struct RmsNorm : torch::autograd::Function<RmsNorm> {
  static Variable forward(AutogradContext* ctx, const Variable& x, const Variable& gain,
                          double eps) {
    CHECK(x.dim() == 2 && x.is_contiguous());
    const int64_t d = x.size(1);
    Tensor y = at::empty_like(x);
    at::parallel_for(0, x.size(0), kRowGrain, [&](int64_t begin, int64_t end) {
      kernels::best().rms_norm(x.data_ptr<float>() + begin * d, gain.data_ptr<float>(),
                               static_cast<float>(eps), y.data_ptr<float>() + begin * d,
                               static_cast<size_t>(end - begin), static_cast<size_t>(d));
    });
    ctx->save_for_backward({x, gain});
    ctx->saved_data["eps"] = eps;
    return y;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto saved = ctx->get_saved_variables();
    const Tensor& x = saved[0];
    const Tensor dy = grads[0].contiguous();
    const double eps = ctx->saved_data["eps"].toDouble();
    const int64_t n = x.size(0);
    const int64_t d = x.size(1);
    const int64_t blocks = (n + kRowGrain - 1) / kRowGrain;
    Tensor dx = at::empty_like(x);
    Tensor dgain = at::zeros({blocks, d}, at::kFloat);
    const float* gain = saved[1].data_ptr<float>();
    at::parallel_for(0, blocks, 1, [&](int64_t begin, int64_t end) {
      std::vector<float> scaled(static_cast<size_t>(d));
      for (int64_t row = begin * kRowGrain; row < std::min(end * kRowGrain, n); ++row) {
        const float* x_row = x.data_ptr<float>() + row * d;
        const float* dy_row = dy.data_ptr<float>() + row * d;
        multiply(dy_row, gain, scaled.data(), d);
        const float dot = kernels::best().dot(scaled.data(), x_row, static_cast<size_t>(d));
        norm_backward_row(x_row, dy_row, gain, inverse_rms(x_row, d, eps), dot,
                          dx.data_ptr<float>() + row * d,
                          dgain.data_ptr<float>() + row / kRowGrain * d, d);
      }
    });
    return {dx, dgain.sum(0), Variable()};
  }
};

// d/dgate and d/dup of silu(gate) * up and of relu(gate)^2 * up.
[[gnu::target_clones("avx512f", "avx2", "default")]]
void squared_relu_backward(const float* gate, const float* up, const float* dy, float* dgate,
                           float* dup, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const float positive = gate[i] > 0.0F ? gate[i] : 0.0F;
    dgate[i] = 2.0F * positive * up[i] * dy[i];
    dup[i] = positive * positive * dy[i];
  }
}

void swiglu_backward(const float* gate, const float* up, const float* dy, float* dgate, float* dup,
                     int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const float sigmoid = 1.0F / (1.0F + std::exp(-gate[i]));
    const float silu = gate[i] * sigmoid;
    dgate[i] = dy[i] * up[i] * (sigmoid + silu * (1.0F - sigmoid));
    dup[i] = dy[i] * silu;
  }
}

struct Glu : torch::autograd::Function<Glu> {
  static Variable forward(AutogradContext* ctx, const Variable& gate, const Variable& up,
                          int64_t activation) {
    Tensor y = at::empty_like(gate);
    const auto kernel = static_cast<Activation>(activation) == Activation::swiglu
                            ? kernels::best().swiglu
                            : kernels::best().squared_relu_glu;
    at::parallel_for(0, gate.numel(), 1 << 15, [&](int64_t begin, int64_t end) {
      kernel(gate.data_ptr<float>() + begin, up.data_ptr<float>() + begin,
             y.data_ptr<float>() + begin, static_cast<size_t>(end - begin));
    });
    ctx->save_for_backward({gate, up});
    ctx->saved_data["activation"] = activation;
    return y;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto saved = ctx->get_saved_variables();
    const Tensor dy = grads[0].contiguous();
    Tensor dgate = at::empty_like(saved[0]);
    Tensor dup = at::empty_like(saved[1]);
    const auto activation = static_cast<Activation>(ctx->saved_data["activation"].toInt());
    const auto run = activation == Activation::swiglu ? swiglu_backward : squared_relu_backward;
    at::parallel_for(0, dy.numel(), 1 << 15, [&](int64_t begin, int64_t end) {
      run(saved[0].data_ptr<float>() + begin, saved[1].data_ptr<float>() + begin,
          dy.data_ptr<float>() + begin, dgate.data_ptr<float>() + begin,
          dup.data_ptr<float>() + begin, end - begin);
    });
    return {dgate, dup, Variable()};
  }
};

// Rotates (a, b) pairs by the angle, or back when sign is -1.
[[gnu::target_clones("avx512f", "avx2", "default")]]
void rotate(const float* x, const float* cos, const float* sin, float sign, float* y,
            int64_t half) {
  for (int64_t i = 0; i < half; ++i) {
    const float a = x[i];
    const float b = x[i + half];
    y[i] = a * cos[i] - sign * b * sin[i];
    y[i + half] = b * cos[i] + sign * a * sin[i];
  }
}

// Where head h of token t of sequence b lies in the gathered layout.
struct HeadLayout {
  int64_t batch, tokens, groups, repeats, dim;
  int64_t heads() const { return groups * repeats; }
  int64_t gathered(int64_t row, int64_t head) const {
    const int64_t b = row / tokens;
    const int64_t t = row % tokens;
    return (((b * groups + head / repeats) * tokens + t) * repeats + head % repeats) * dim;
  }
};

struct NormRopeHeads : torch::autograd::Function<NormRopeHeads> {
  static Variable forward(AutogradContext* ctx, const Variable& x, const Variable& gain, double eps,
                          const Tensor& cos, const Tensor& sin, int64_t batch, int64_t groups) {
    const int64_t half = cos.size(1);
    const int64_t dim = half * 2;
    const HeadLayout layout{batch, x.size(0) / batch, groups, x.size(1) / dim / groups, dim};
    Tensor y = at::empty({batch * groups, layout.tokens * layout.repeats, dim}, at::kFloat);
    at::parallel_for(0, x.size(0), kRowGrain, [&](int64_t begin, int64_t end) {
      std::vector<float> normed(static_cast<size_t>(dim));
      for (int64_t row = begin; row < end; ++row) {
        const int64_t t = row % layout.tokens;
        for (int64_t head = 0; head < layout.heads(); ++head) {
          const float* from = x.data_ptr<float>() + (row * layout.heads() + head) * dim;
          if (gain.numel() > 0) {
            kernels::best().rms_norm(from, gain.data_ptr<float>(), static_cast<float>(eps),
                                     normed.data(), 1, static_cast<size_t>(dim));
            from = normed.data();
          }
          rotate(from, cos.data_ptr<float>() + t * half, sin.data_ptr<float>() + t * half, 1.0F,
                 y.data_ptr<float>() + layout.gathered(row, head), half);
        }
      }
    });
    ctx->save_for_backward({x, gain, cos, sin});
    ctx->saved_data["eps"] = eps;
    ctx->saved_data["batch"] = batch;
    ctx->saved_data["groups"] = groups;
    return y;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto saved = ctx->get_saved_variables();
    const Tensor &x = saved[0], &gain = saved[1], &cos = saved[2], &sin = saved[3];
    const Tensor dy = grads[0].contiguous();
    const double eps = ctx->saved_data["eps"].toDouble();
    const int64_t half = cos.size(1);
    const int64_t dim = half * 2;
    const int64_t batch = ctx->saved_data["batch"].toInt();
    const int64_t groups = ctx->saved_data["groups"].toInt();
    const HeadLayout layout{batch, x.size(0) / batch, groups, x.size(1) / dim / groups, dim};
    const int64_t blocks = (x.size(0) + kRowGrain - 1) / kRowGrain;
    Tensor dx = at::empty_like(x);
    Tensor dgain = at::zeros({blocks, dim}, at::kFloat);
    at::parallel_for(0, blocks, 1, [&](int64_t begin, int64_t end) {
      std::vector<float> back(static_cast<size_t>(dim));
      std::vector<float> scaled(static_cast<size_t>(dim));
      for (int64_t row = begin * kRowGrain; row < std::min(end * kRowGrain, x.size(0)); ++row) {
        const int64_t t = row % layout.tokens;
        for (int64_t head = 0; head < layout.heads(); ++head) {
          const int64_t at = (row * layout.heads() + head) * dim;
          float* target = gain.numel() > 0 ? back.data() : dx.data_ptr<float>() + at;
          rotate(dy.data_ptr<float>() + layout.gathered(row, head),
                 cos.data_ptr<float>() + t * half, sin.data_ptr<float>() + t * half, -1.0F, target,
                 half);
          if (gain.numel() == 0) continue;
          const float* x_row = x.data_ptr<float>() + at;
          multiply(back.data(), gain.data_ptr<float>(), scaled.data(), dim);
          const float dot = kernels::best().dot(scaled.data(), x_row, static_cast<size_t>(dim));
          norm_backward_row(x_row, back.data(), gain.data_ptr<float>(),
                            inverse_rms(x_row, dim, eps), dot, dx.data_ptr<float>() + at,
                            dgain.data_ptr<float>() + row / kRowGrain * dim, dim);
        }
      }
    });
    Variable none;
    return {dx, gain.numel() > 0 ? dgain.sum(0) : none, none, none, none, none, none};
  }
};

}  // namespace

Tensor rms_norm(const Tensor& x, const Tensor& gain, double eps) {
  if (device::takes(x)) return device::rms_norm(x, gain, eps);
  return RmsNorm::apply(x.contiguous(), gain, eps);
}

Tensor glu(const Tensor& gate, const Tensor& up, Activation activation) {
  if (device::takes(gate)) return device::glu(gate, up, activation);
  return Glu::apply(gate, up, static_cast<int64_t>(activation));
}

RopeTable rope_table(int64_t positions, int64_t head_dim, double theta) {
  const int64_t half = head_dim / 2;
  RopeTable table{at::empty({positions, half}, at::kFloat),
                  at::empty({positions, half}, at::kFloat)};
  for (int64_t t = 0; t < positions; ++t) {
    for (int64_t i = 0; i < half; ++i) {
      const double frequency =
          std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(head_dim));
      const double angle = static_cast<double>(t) * frequency;
      table.cos.data_ptr<float>()[t * half + i] = static_cast<float>(std::cos(angle));
      table.sin.data_ptr<float>()[t * half + i] = static_cast<float>(std::sin(angle));
    }
  }
  return table;
}

Tensor norm_rope_heads(const Tensor& x, const Tensor& gain, double eps, const RopeTable& rope,
                       int64_t batch, int64_t groups) {
  CHECK(x.size(0) % batch == 0 && rope.cos.size(0) >= x.size(0) / batch);
  if (device::takes(x)) return device::norm_rope_heads(x, gain, eps, rope, batch, groups);
  const Tensor given = gain.defined() ? gain : at::empty({0});  // autograd takes no null
  return NormRopeHeads::apply(x.contiguous(), given, eps, rope.cos, rope.sin, batch, groups);
}

}  // namespace tristill::train
