// The same operations on a CUDA device, against the CPU's kernels. Without a device each test says
// so and is left out.
#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/test_model.h"
#include "tests/train/torch/few_steps.h"
#include "train/device/head_loss.h"
#include "train/device/kernel_launch.h"
#include "train/device/ops.h"
#include "train/device/place.h"
#include "train/export.h"
#include "train/optim/optimizer.h"
#include "train/run/gradient_step.h"
#include "train/student/attention.h"

namespace tristill::train {
namespace {

using torch::Tensor;

const torch::Device kCuda(torch::kCUDA, 0);

class CudaTrainer : public ::testing::Test {
 protected:
  void SetUp() override {
    if (cuda_devices() == 0) GTEST_SKIP() << "no CUDA device";
  }
};

Tensor random(at::IntArrayRef shape, uint64_t seed) {
  at::manual_seed(seed);
  return at::randn(shape, at::kFloat);
}

void expect_close(const Tensor& on_device, const Tensor& here, double tolerance) {
  const Tensor found = on_device.cpu();
  ASSERT_EQ(found.sizes(), here.sizes());
  const double scale = here.abs().max().item<double>() + 1e-12;
  EXPECT_LT((found - here).abs().max().item<double>() / scale, tolerance);
}

TEST_F(CudaTrainer, TokensAreQuantisedToTheSameBits) {
  Tensor x = random({500, 768}, 1);
  x[3].fill_(0.0F);
  x[4] = (at::arange(768) % 255 - 127).to(at::kFloat) * 0.5F;
  x[4][0] = 127.0F;
  for (const float limit : {127.0F, 7.0F}) {
    const QuantizedTokens here = quantize_tokens(x, limit);
    const QuantizedTokens there = quantize_tokens(x.to(kCuda), limit);
    EXPECT_TRUE(there.values.cpu().equal(here.values));
    EXPECT_TRUE(there.scale.cpu().equal(here.scale));
  }
}

// By cuBLASLt's integer product, and by the exact product in fp32 where its shapes do not allow it.
TEST_F(CudaTrainer, AccumulatorsAndOutputsAreTheSameBits) {
  for (const int64_t rows : {7, 300}) {
    for (const int64_t in : {4096, 1001}) {
      for (const LinearMode mode : {LinearMode::ternary, LinearMode::int8}) {
        const Tensor latent = random({64, in}, 2);
        LinearWeight here(latent.clone(), mode, at::kFloat);
        here.refresh();
        LinearWeight there(latent.to(kCuda), mode, at::kFloat);
        there.adopt(here.values(), here.scale(), {});
        const Tensor x = random({rows, in}, 3);
        const Tensor exact = integer_accumulators(quantize_tokens(x), here);
        const Tensor found = integer_accumulators(quantize_tokens(x.to(kCuda)), there);
        EXPECT_TRUE(found.cpu().equal(exact));
        const Tensor y = linear_group(x, {&here})[0];
        EXPECT_TRUE(linear_group(x.to(kCuda), {&there})[0].cpu().equal(y));
      }
    }
  }
}

TEST_F(CudaTrainer, WeightsBecomeTheSame) {
  const Tensor latent = random({256, 768}, 4);
  for (const LinearMode mode : {LinearMode::ternary, LinearMode::int8}) {
    LinearWeight here(latent.clone(), mode, at::kFloat);
    LinearWeight there(latent.to(kCuda), mode, at::kFloat);
    here.refresh();
    there.refresh();
    EXPECT_TRUE(there.values().cpu().equal(here.values()));
    expect_close(there.scale(), here.scale(), 1e-6);
  }
}

// Forth to the bit where kernels of ours run, which is from compute capability 8.0.
TEST_F(CudaTrainer, NormsAndGatedUnitsAreTheCpus) {
  const bool has_kernels = static_cast<bool>(device::KernelLaunch(at::empty({1}, kCuda)));
  for (const auto activation : {Activation::swiglu, Activation::squared_relu}) {
    const Tensor x = random({3000, 768}, 9), gain = random({768}, 10), up = random({3000, 768}, 11);
    std::vector<Tensor> here, there;
    for (const Tensor& input : {x, gain, up}) {
      here.push_back(input.clone().set_requires_grad(true));
      there.push_back(input.to(kCuda).set_requires_grad(true));
    }
    const auto run = [&](const auto& in) {
      return glu(rms_norm(in[0], in[1], 1e-5), in[2], activation);
    };
    const Tensor a = run(here), b = run(there);
    if (has_kernels) {
      EXPECT_TRUE(b.detach().cpu().equal(a.detach()));
    }
    expect_close(b.detach(), a.detach(), 1e-5);
    const Tensor weight = random(a.sizes(), 12);
    (a * weight).sum().backward();
    (b * weight.to(kCuda)).sum().backward();
    for (size_t i = 0; i < here.size(); ++i) expect_close(there[i].grad(), here[i].grad(), 1e-4);
  }
}

TEST_F(CudaTrainer, AttentionIsThatOfTheCpu) {
  Tensor starts = at::zeros({2, 300}, at::kInt);
  starts[1].slice(0, 130).fill_(130);
  const Tensor q = random({4, 600, 64}, 5), k = random({4, 300, 64}, 6),
               v = random({4, 300, 64}, 7);
  const Tensor weight = random(q.sizes(), 8);
  for (const double cap : {0.0, 2.0}) {
    for (const auto compute : {at::kFloat, at::kBFloat16}) {
      const double tolerance = compute == at::kFloat ? 1e-4 : 3e-2;
      std::vector<Tensor> here, there;
      for (const Tensor& x : {q, k, v}) {
        here.push_back(x.clone().set_requires_grad(true));
        there.push_back(x.to(kCuda).set_requires_grad(true));
      }
      const Tensor a = segment_attention(here[0], here[1], here[2], starts, cap);
      const Tensor b =
          segment_attention(there[0], there[1], there[2], starts.to(kCuda), cap, compute);
      expect_close(b.detach(), a.detach(), tolerance);
      (a * weight).sum().backward();
      (b * weight.to(kCuda)).sum().backward();
      for (size_t i = 0; i < here.size(); ++i) {
        expect_close(there[i].grad(), here[i].grad(), tolerance);
      }
    }
  }
}

TEST_F(CudaTrainer, TwentyStepsLearnAsOnTheCpu) {
  const FewSteps here = take_steps(torch::kCPU, 20);
  const FewSteps there = take_steps(kCuda, 20);
  EXPECT_NEAR(there.losses[0], here.losses[0], 1e-4 * here.losses[0]);
  // As on the CPU by these operations: a number on an edge falls the other way, and they drift.
  for (size_t i = 0; i < here.losses.size(); ++i) {
    EXPECT_NEAR(there.losses[i], here.losses[i], (i < 8 ? 0.03 : 0.1) * here.losses[i]) << i;
  }
  EXPECT_EQ(there.exported.size(), here.exported.size());
}

TEST_F(CudaTrainer, LearnsOfATeacherAsOnTheCpu) {
  expect_taught_alike(learn_once_of_a_teacher(kCuda), learn_once_of_a_teacher(torch::kCPU));
}

TEST_F(CudaTrainer, WithoutKernelsItLearnsAsWithThem) {
  const FewSteps with = take_steps(kCuda, 8);
  const device::ChosenKernels none(nullptr);
  const FewSteps without = take_steps(kCuda, 8);
  for (size_t i = 0; i < with.losses.size(); ++i) {
    EXPECT_NEAR(without.losses[i], with.losses[i], 0.03 * with.losses[i]) << i;
  }
}

TEST_F(CudaTrainer, TheSameStepsGiveTheSameBytesAgain) {
  EXPECT_EQ(take_steps(kCuda, 5).losses, take_steps(kCuda, 5).losses);
}

TEST_F(CudaTrainer, TheStateOfACheckpointIsTheCpus) {
  Student student(test::random_model({.seed = 1}).config, true, at::kFloat, 5, nullptr, kCuda);
  job::OptimizerSpec spec;
  Optimizer optimizer(spec, student.parameters(), at::kFloat);
  const auto state = optimizer.state();
  for (const auto& [name, tensor] : state) EXPECT_TRUE(tensor.is_cpu()) << name;
  EXPECT_TRUE(optimizer.load_state(state));
}

TEST_F(CudaTrainer, AFullDeviceIsNamedWithWhatHelps) {
  try {
    at::empty({int64_t{1} << 45}, at::device(kCuda).dtype(at::kByte));
    FAIL() << "there is no such memory";
  } catch (const std::exception& failure) {
    const auto full = out_of_memory(failure);
    ASSERT_TRUE(full) << failure.what();
    EXPECT_EQ(full->code, ErrorCode::resource_exhausted);
  }
}

}  // namespace
}  // namespace tristill::train
