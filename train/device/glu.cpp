#include <torch/csrc/autograd/custom_function.h>
#include "train/device/kernel_launch.h"

#include "train/device/ops.h"

namespace tristill::train::device {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

bool are_flat(const Tensor& gate, const Tensor& up) {
  const auto is_flat = [](const Tensor& x) {
    return x.scalar_type() == at::kFloat && x.is_contiguous();
  };
  return is_flat(gate) && is_flat(up);
}

// Keeps gate and up alone.
struct Glu : torch::autograd::Function<Glu> {
  static Variable forward(AutogradContext* ctx, const Variable& gate, const Variable& up,
                          int64_t activation) {
    ctx->save_for_backward({gate, up});
    ctx->saved_data["activation"] = activation;
    if (const KernelLaunch run(gate); run && are_flat(gate, up)) {
      Tensor y = at::empty_like(gate);
      run(&Kernels::glu, static_cast<Activation>(activation), gate.data_ptr<float>(),
          up.data_ptr<float>(), gate.numel(), y.data_ptr<float>());
      return y;
    }
    const bool swiglu = static_cast<Activation>(activation) == Activation::swiglu;
    return (swiglu ? at::silu(gate) : at::relu(gate).square_()).mul_(up);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto saved = ctx->get_saved_variables();
    const Tensor &gate = saved[0], &up = saved[1];
    const auto activation = static_cast<Activation>(ctx->saved_data["activation"].toInt());
    if (const KernelLaunch run(gate); run && are_flat(gate, up)) {
      const Tensor dy = grads[0].contiguous();
      Tensor dgate = at::empty_like(gate), dup = at::empty_like(up);
      run(&Kernels::glu_backward, activation, gate.data_ptr<float>(), up.data_ptr<float>(),
          dy.data_ptr<float>(), gate.numel(), dgate.data_ptr<float>(), dup.data_ptr<float>());
      return {dgate, dup, Variable()};
    }
    const Tensor to_act = grads[0] * up;  // d loss / d act(gate)
    if (activation == Activation::squared_relu) {
      const Tensor positive = at::relu(gate);
      return {(2.0 * positive).mul_(to_act), positive.square().mul_(grads[0]), Variable()};
    }
    const Tensor sigmoid = at::sigmoid(gate);
    const Tensor silu = gate * sigmoid;
    const Tensor slope = sigmoid + silu * (1.0 - sigmoid);
    return {slope * to_act, silu * grads[0], Variable()};
  }
};

}  // namespace

Tensor glu(const Tensor& gate, const Tensor& up, Activation activation) {
  return Glu::apply(gate, up, static_cast<int64_t>(activation));
}

}  // namespace tristill::train::device
