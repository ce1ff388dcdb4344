#include "train/student/recompute.h"

#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <utility>

#include "base/check.h"

namespace tristill::train {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

// A function among the values that a context keeps.
struct Kept : torch::CustomClassHolder {
  explicit Kept(Recomputable function) : f(std::move(function)) {}
  Recomputable f;
};

struct Recompute : torch::autograd::Function<Recompute> {
  static Variable forward(AutogradContext* ctx, const Variable& x, const Recomputable& f) {
    ctx->save_for_backward({x});
    ctx->saved_data["f"] = c10::IValue::make_capsule(c10::make_intrusive<Kept>(f));
    return f(x, Pass::forward);
  }

  // The parameters' gradients are added where they stand; x's comes back to who asked.
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto capsule = ctx->saved_data["f"].toCapsule();
    const Recomputable& f = static_cast<const Kept&>(*capsule).f;
    const Tensor x = ctx->get_saved_variables()[0].detach().set_requires_grad(true);
    const torch::AutoGradMode with_gradient(true);
    torch::autograd::backward({f(x, Pass::again)}, {grads[0]});
    return {x.grad(), Variable()};
  }
};

}  // namespace

Tensor recomputed(const Tensor& x, const Recomputable& f) {
  if (!torch::GradMode::is_enabled()) return f(x, Pass::forward);
  CHECK(x.requires_grad());
  return Recompute::apply(x, f);
}

}  // namespace tristill::train
