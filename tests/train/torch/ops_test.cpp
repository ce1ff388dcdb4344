#include <gtest/gtest.h>
#include <torch/types.h>

#include <cmath>

#include "train/student/attention.h"
#include "train/student/fused_ops.h"
#include "train/student/linear.h"

namespace tristill::train {
namespace {

using torch::Tensor;

Tensor random(at::IntArrayRef shape, uint64_t seed) {
  at::manual_seed(seed);
  return at::randn(shape, at::kFloat);
}

void expect_close(const Tensor& a, const Tensor& b, double tolerance, const char* what) {
  ASSERT_EQ(a.sizes(), b.sizes()) << what;
  const double scale = b.abs().max().item<double>() + 1e-12;
  EXPECT_LT((a - b).abs().max().item<double>() / scale, tolerance) << what;
}

Tensor reference_norm(const Tensor& x, const Tensor& gain, double eps) {
  return x * gain / (x.square().mean(-1, true) + eps).sqrt();
}

TEST(RmsNormOp, EqualsAutogradOfItsFormula) {
  for (const int64_t d : {16, 64, 256, 300}) {
    Tensor x = random({70, d}, 1).requires_grad_(true);
    Tensor gain = random({d}, 2).requires_grad_(true);
    Tensor x2 = x.detach().clone().requires_grad_(true);
    Tensor gain2 = gain.detach().clone().requires_grad_(true);
    const Tensor weight = random({70, d}, 3);
    const Tensor y = rms_norm(x, gain, 1e-5);
    const Tensor y2 = reference_norm(x2, gain2, 1e-5);
    (y * weight).sum().backward();
    (y2 * weight).sum().backward();
    expect_close(y, y2, 1e-5, "y");
    expect_close(x.grad(), x2.grad(), 1e-4, "dx");
    expect_close(gain.grad(), gain2.grad(), 1e-4, "dgain");
  }
}

// Seeds' vector T15, in the form that adds eps to the mean square; added to the root: .8728701.
TEST(RmsNormOp, AddsEpsUnderTheRootAsTheReferenceVector) {
  const Tensor x = torch::tensor({{1.0F, -2.0F, 0.5F, 0.003F}});
  EXPECT_NEAR(rms_norm(x, at::ones({4}), 1e-6)[0][0].item<float>(), 0.8728704F, 1.5e-7);
}

TEST(GluOp, EqualsAutogradOfItsFormula) {
  for (const Activation activation : {Activation::swiglu, Activation::squared_relu}) {
    Tensor gate = random({33, 130}, 4).requires_grad_(true);
    Tensor up = random({33, 130}, 5).requires_grad_(true);
    Tensor gate2 = gate.detach().clone().requires_grad_(true);
    Tensor up2 = up.detach().clone().requires_grad_(true);
    const Tensor weight = random({33, 130}, 6);
    const Tensor y = glu(gate, up, activation);
    const Tensor act =
        activation == Activation::swiglu ? at::silu(gate2) : at::relu(gate2).square();
    (y * weight).sum().backward();
    (act * up2 * weight).sum().backward();
    expect_close(y, act * up2, 1e-5, "y");
    expect_close(gate.grad(), gate2.grad(), 1e-5, "dgate");
    expect_close(up.grad(), up2.grad(), 1e-5, "dup");
  }
}

// Seeds' vector T11: d = 4, theta 1e6, position 3.
TEST(Rope, GivesTheReferenceVector) {
  const RopeTable table = rope_table(4, 4, 1e6);
  Tensor x = at::zeros({4, 4});
  x[3] = torch::tensor({1.0F, 2.0F, 3.0F, 4.0F});
  const Tensor y = norm_rope_heads(x, {}, 1e-5, table, 1, 1);
  const float expected[] = {-1.4133525F, 1.9879911F, -2.8288574F, 4.0059819F};
  for (int i = 0; i < 4; ++i) EXPECT_NEAR(y[0][3][i].item<float>(), expected[i], 1e-5);
}

TEST(NormRopeHeads, GathersNormsRotatesAndGivesGradients) {
  const int64_t batch = 2, tokens = 5, groups = 2, repeats = 3, dim = 8;
  const RopeTable table = rope_table(tokens, dim, 1e4);
  Tensor x = random({batch * tokens, groups * repeats * dim}, 7).requires_grad_(true);
  Tensor gain = random({dim}, 8).requires_grad_(true);
  Tensor x2 = x.detach().clone().requires_grad_(true);
  Tensor gain2 = gain.detach().clone().requires_grad_(true);
  const Tensor y = norm_rope_heads(x, gain, 1e-5, table, batch, groups);
  const Tensor heads = reference_norm(x2.view({batch, tokens, groups * repeats, dim}), gain2, 1e-5);
  const Tensor cos = table.cos.view({1, tokens, 1, dim / 2});
  const Tensor sin = table.sin.view({1, tokens, 1, dim / 2});
  const auto halves = heads.chunk(2, -1);
  const Tensor turned =
      at::cat({halves[0] * cos - halves[1] * sin, halves[1] * cos + halves[0] * sin}, -1);
  const Tensor y2 = turned.view({batch, tokens, groups, repeats, dim})
                        .permute({0, 2, 1, 3, 4})
                        .reshape({batch * groups, tokens * repeats, dim});
  const Tensor weight = random(y2.sizes(), 9);
  (y * weight).sum().backward();
  (y2 * weight).sum().backward();
  expect_close(y, y2, 1e-5, "y");
  expect_close(x.grad(), x2.grad(), 1e-4, "dx");
  expect_close(gain.grad(), gain2.grad(), 1e-4, "dgain");
}

struct Attended {
  Tensor o, q, k, v;
};

// Outputs, and the gradients of a sum of them weighed at random.
void expect_same_attention(const Attended& here, const Attended& there, uint64_t seed) {
  const Tensor weight = random(there.o.sizes(), seed);
  (here.o * weight).sum().backward();
  (there.o * weight).sum().backward();
  expect_close(here.o, there.o, 1e-4, "o");
  expect_close(here.q.grad(), there.q.grad(), 1e-4, "dq");
  expect_close(here.k.grad(), there.k.grad(), 1e-4, "dk");
  expect_close(here.v.grad(), there.v.grad(), 1e-4, "dv");
}

TEST(SegmentAttention, EqualsMaskedSoftmaxAndItsGradients) {
  const int64_t batch = 2, tokens = 150, groups = 2, repeats = 2, dim = 16;
  Tensor q = random({batch * groups, tokens * repeats, dim}, 10).requires_grad_(true);
  Tensor k = random({batch * groups, tokens, dim}, 11).requires_grad_(true);
  Tensor v = random({batch * groups, tokens, dim}, 12).requires_grad_(true);
  Tensor q2 = q.detach().clone().requires_grad_(true);
  Tensor k2 = k.detach().clone().requires_grad_(true);
  Tensor v2 = v.detach().clone().requires_grad_(true);
  Tensor starts = at::zeros({batch, tokens}, at::kInt);
  starts[0].slice(0, 40).fill_(40);
  starts[1].slice(0, 7).fill_(7);
  starts[1].slice(0, 130).fill_(130);
  const Tensor o = segment_attention(q, k, v, starts);

  Tensor mask = at::full({batch, tokens, tokens}, -1e30);
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t t = 0; t < tokens; ++t) {
      mask[b][t].slice(0, starts[b][t].item<int64_t>(), t + 1).fill_(0);
    }
  }
  mask = mask.repeat_interleave(groups, 0).repeat_interleave(repeats, 1);
  const Tensor p = at::softmax(at::bmm(q2, k2.transpose(1, 2)) / std::sqrt(16.0) + mask, -1);
  const Tensor o2 = at::bmm(p, v2);
  expect_same_attention({o, q, k, v}, {o2, q2, k2, v2}, 13);
}

TEST(SegmentAttention, CappedScoresAreThatOfTheFormulaAndSoAreTheirGradients) {
  const int64_t tokens = 90, dim = 16;
  const double cap = 1.5;
  Tensor q = (random({1, tokens, dim}, 30) * 2).requires_grad_(true);
  Tensor k = (random({1, tokens, dim}, 31) * 2).requires_grad_(true);
  Tensor v = random({1, tokens, dim}, 32).requires_grad_(true);
  Tensor q2 = q.detach().clone().requires_grad_(true);
  Tensor k2 = k.detach().clone().requires_grad_(true);
  Tensor v2 = v.detach().clone().requires_grad_(true);
  const Tensor o = segment_attention(q, k, v, at::zeros({1, tokens}, at::kInt), cap);
  const Tensor scores = cap * at::tanh(at::bmm(q2, k2.transpose(1, 2)) / 4.0 / cap);
  const Tensor mask = at::full({tokens, tokens}, -1e30).triu(1);
  const Tensor o2 = at::bmm(at::softmax(scores + mask, -1), v2);
  expect_same_attention({o, q, k, v}, {o2, q2, k2, v2}, 33);
}

TEST(SegmentAttention, NothingCrossesASegment) {
  Tensor q = random({1, 20, 8}, 14);
  Tensor k = random({1, 20, 8}, 15);
  Tensor v = random({1, 20, 8}, 16);
  Tensor starts = at::zeros({1, 20}, at::kInt);
  starts[0].slice(0, 10).fill_(10);
  const Tensor before = segment_attention(q, k, v, starts);
  k.slice(1, 0, 10).fill_(100.0);
  v.slice(1, 0, 10).fill_(100.0);
  const Tensor after = segment_attention(q, k, v, starts);
  EXPECT_TRUE(before.slice(1, 10).equal(after.slice(1, 10)));
  EXPECT_FALSE(before.slice(1, 0, 10).equal(after.slice(1, 0, 10)));
}

// Seeds' vectors T1 to T3 through the whole layer.
TEST(LinearGroup, GivesTheReferenceVector) {
  const Tensor latent = torch::tensor({{0.1F, -0.4F, 0.05F, 0.9F}, {-0.2F, 0.3F, -0.7F, 0.0F}});
  LinearWeight weight(latent.clone().set_requires_grad(true), LinearMode::ternary, at::kFloat);
  weight.refresh();
  EXPECT_FLOAT_EQ(weight.scale()[0].item<float>(), 0.33125F);
  EXPECT_TRUE(weight.values().equal(torch::tensor({{0, -1, 0, 1}, {-1, 1, -1, 0}}).to(at::kChar)));
  const Tensor x = torch::tensor({{1.0F, -2.0F, 0.5F, 0.003F}});
  const Tensor y = linear_group(x, {&weight})[0];
  EXPECT_NEAR(y[0][0].item<float>(), 0.6625F, 1e-6);
  EXPECT_NEAR(y[0][1].item<float>(), -1.1632874F, 1e-6);
}

TEST(LinearGroup, BackwardIsTheStraightThroughEstimator) {
  for (const LinearMode mode : {LinearMode::ternary, LinearMode::int8, LinearMode::dense}) {
    LinearWeight a(random({64, 128}, 17).set_requires_grad(true), mode, at::kFloat);
    LinearWeight b(random({32, 128}, 18).set_requires_grad(true), mode, at::kFloat);
    a.refresh();
    b.refresh();
    Tensor x = random({100, 128}, 19).requires_grad_(true);
    const auto y = linear_group(x, {&a, &b});
    const Tensor da = random({100, 64}, 20);
    const Tensor db = random({100, 32}, 21);
    ((y[0] * da).sum() + (y[1] * db).sum()).backward();
    Tensor seen = x.detach();
    if (mode != LinearMode::dense) {
      const auto tokens = quantize_tokens(seen);
      seen = tokens.values * tokens.scale.unsqueeze(1);
    }
    expect_close(y[0], at::mm(seen, a.dequantized().t()), 1e-5, "y");
    expect_close(x.grad(), at::mm(da, a.dequantized()) + at::mm(db, b.dequantized()), 1e-5, "dx");
    expect_close(a.latent().grad(), at::mm(da.t(), seen), 1e-5, "dW");
    expect_close(b.latent().grad(), at::mm(db.t(), seen), 1e-5, "dW");
  }
}

TEST(LinearGroup, FourBitInputsAreSevenStepsEitherWay) {
  LinearWeight weight(random({48, 128}, 34).set_requires_grad(true), LinearMode::ternary,
                      at::kFloat);
  weight.refresh();
  Tensor x = random({20, 128}, 35).requires_grad_(true);
  const auto tokens = quantize_tokens(x.detach(), 7.0F);
  EXPECT_EQ(tokens.values.abs().max().item<int64_t>(), 7);
  const Tensor seen = tokens.values * tokens.scale.unsqueeze(1);
  const Tensor y = linear_group(x, {&weight}, 7.0F)[0];
  expect_close(y, at::mm(seen, weight.dequantized().t()), 1e-5, "y");
  const Tensor dy = random({20, 48}, 36);
  (y * dy).sum().backward();
  expect_close(weight.latent().grad(), at::mm(dy.t(), seen), 1e-5, "dW");
  expect_close(x.grad(), at::mm(dy, weight.dequantized()), 1e-5, "dx");
}

TEST(LinearGroup, QuantisationGrowsWithItsStrength) {
  LinearWeight weight(random({48, 128}, 37).set_requires_grad(true), LinearMode::ternary,
                      at::kFloat);
  const Tensor x = random({20, 128}, 38);
  const auto tokens = quantize_tokens(x);
  const Tensor whole = tokens.values * tokens.scale.unsqueeze(1);
  for (const double strength : {0.0, 0.25, 0.75}) {
    weight.refresh(strength);
    const Tensor latent = weight.latent().detach();
    const Tensor mixed = latent + strength * (weight.values() * weight.scale() - latent);
    const Tensor seen = x + strength * (whole - x);
    expect_close(weight.dequantized(), mixed, 1e-6, "W");
    expect_close(linear_group(x, {&weight})[0], at::mm(seen, mixed.t()), 1e-5, "y");
  }
  weight.refresh(1.0);
  EXPECT_TRUE(weight.is_integer());
  expect_close(linear_group(x, {&weight})[0], at::mm(whole, weight.dequantized().t()), 1e-5, "y");
}

TEST(LinearGroup, Bf16GradientsAreCloseToFp32) {
  LinearWeight exact(random({64, 256}, 22).set_requires_grad(true), LinearMode::ternary,
                     at::kFloat);
  LinearWeight rounded(exact.latent().detach().clone().set_requires_grad(true), LinearMode::ternary,
                       at::kBFloat16);
  exact.refresh();
  rounded.refresh();
  const Tensor x = random({100, 256}, 23);
  const Tensor dy = random({100, 64}, 24);
  const Tensor y1 = linear_group(x, {&exact})[0];
  const Tensor y2 = linear_group(x, {&rounded})[0];
  EXPECT_TRUE(y1.equal(y2));  // the forward pass does not depend on the gradients' precision
  (y1 * dy).sum().backward();
  (y2 * dy).sum().backward();
  expect_close(rounded.latent().grad(), exact.latent().grad(), 2e-2, "dW");
}

}  // namespace
}  // namespace tristill::train
