// The trainer's CUDA kernels on the CPU, by the emulator, through the trainer's own operations:
// against what the CPU computes. Whole numbers, norms and forward passes to the bit.
#include "train/torch_pch.h"

#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "tests/train/torch/few_steps.h"
#include "tests/train/torch/twice.h"
#include "train/device/kernel_launch.h"
#include "train/device/ops.h"
#include "train/quant/absmean.h"
#include "train/quant/tequila.h"

namespace tristill::train {
namespace {

using torch::Tensor;

using Shapes = std::vector<std::pair<int64_t, int64_t>>;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

cudaStream_t stream() {
  static cuda_emulator::Stream only;
  return &only;
}

const device::Kernels& kernels() { return *device::cuda_kernels(0); }

// While it lives, CPU tensors are a device's, and the device has kernels.
struct OnDevice {
  device::TakesEverything everything;
  device::ChosenKernels chosen{&kernels(), stream()};
};

// f() on that device.
template <class F>
auto there(F&& f) {
  const OnDevice device;
  return f();
}

// The result of an operation, then the gradients of its inputs.
template <class F>
std::vector<Tensor> forth_and_back(const std::vector<Tensor>& given, const F& f) {
  std::vector<Tensor> inputs;
  for (const Tensor& input : given) inputs.push_back(leaf(input));
  const Tensor y = f(inputs);
  (y * random(y.sizes(), 99)).sum().backward();
  std::vector<Tensor> found = {y.detach()};
  for (const Tensor& input : inputs) found.push_back(input.grad());
  return found;
}
template <class F>
void expect_same_gradients(const std::vector<Tensor>& inputs, const F& f) {
  const auto here = forth_and_back(inputs, f);
  const auto found = there([&] { return forth_and_back(inputs, f); });
  for (size_t i = 0; i < here.size(); ++i) expect_close(found[i], here[i], 1e-5, "gradient");
}

// Halves on purpose, of both limits; rows of nothing and of next to nothing.
Tensor tokens_with_edges(int64_t rows, int64_t cols) {
  Tensor x = random({rows, cols}, 1);
  x[0].fill_(0.0F);
  x[1].fill_(1e-40F);
  x[2] = (at::arange(cols) % 255 - 127).to(at::kFloat) * 0.5F;
  x[2][0] = 127.0F;
  x[3] = (at::arange(cols) % 15 - 7).to(at::kFloat) * 0.5F;
  x[3][0] = -7.0F;
  x[4][cols - 1] = 1e30F;
  return x;
}

void expect_same_tokens(const QuantizedTokens& found, const QuantizedTokens& expected) {
  EXPECT_TRUE(found.values.equal(expected.values));
  EXPECT_TRUE(found.scale.equal(expected.scale));
}

// One row of a warp, of several, of all that a block has; ends within a four; wider than it holds.
constexpr int64_t kWidths[] = {1, 3, 16, 129, 768, 1028, 4096, 4100, 16384, 16388};

TEST(TrainKernels, TokensAreTheCpusToTheBit) {
  for (const int64_t cols : kWidths) {
    SCOPED_TRACE(cols);
    const Tensor x = tokens_with_edges(9, cols);
    for (const float limit : {127.0F, 7.0F}) {
      expect_same_tokens(there([&] { return quantize_tokens(x, limit); }),
                         quantize_tokens(x, limit));
    }
  }
}

// As a slice of another tensor may be.
TEST(TrainKernels, TokensAtAnOddAddressAreTheSame) {
  const Tensor x = random({1 + 6 * 64}, 2).slice(0, 1).view({6, 64});
  ASSERT_NE(reinterpret_cast<uintptr_t>(x.data_ptr()) % 16, 0U);
  expect_same_tokens(there([&] { return quantize_tokens(x); }), quantize_tokens(x));
}

TEST(TrainKernels, ATokenThatIsNotFiniteIsNotHidden) {
  Tensor x = random({3, 40}, 3);
  const Tensor untouched = quantize_tokens(x).scale;
  x[0][7] = kNan;
  x[1][39] = -kInfinity;
  const Tensor scale = there([&] { return quantize_tokens(x).scale; });
  EXPECT_TRUE(std::isnan(scale[0].item<float>()));
  EXPECT_TRUE(std::isinf(scale[1].item<float>()));
  EXPECT_EQ(scale[2].item<float>(), untouched[2].item<float>());
}

// Up to what a block holds; wider rows are ATen's, whose last bits differ.
TEST(TrainKernels, NormedRowsAreTheCpusToTheBit) {
  for (const int64_t cols : kWidths) {
    SCOPED_TRACE(cols);
    const Tensor x = random({7, cols}, 4);
    const Tensor gain = random({cols}, 5);
    const Tensor here = rms_norm(x, gain, 1e-5);
    const Tensor found = there([&] { return rms_norm(x, gain, 1e-5); });
    if (cols <= static_cast<int64_t>(device::kMostKernelColumns)) EXPECT_TRUE(found.equal(here));
    else expect_close(found, here, 1e-5, "norm");
  }
}

// More rows than strips, and fewer.
TEST(TrainKernels, NormsHaveTheGradientsOfTheCpu) {
  for (const auto& [rows, cols] : Shapes{{2100, 12}, {70, 300}, {3, 4100}}) {
    SCOPED_TRACE(rows);
    expect_same_gradients({random({rows, cols}, 6), random({cols}, 7)},
                          [](const auto& in) { return rms_norm(in[0], in[1], 1e-5); });
  }
}

TEST(TrainKernels, TokensOfANormedRowAreTheCpusToTheBit) {
  for (const int64_t cols : {16, 129, 768, 4100}) {
    for (const float limit : {127.0F, 7.0F}) {
      const Tensor x = random({11, cols}, 8);
      const Tensor gain = random({cols}, 9);
      const auto found = there([&] { return device::norm_quantize(x, gain, 1e-5, limit); });
      ASSERT_TRUE(found);
      expect_same_tokens(*found, quantize_tokens(rms_norm(x, gain, 1e-5), limit));
    }
  }
}

TEST(TrainKernels, ANormedInputIsNeverWritten) {
  const Tensor x = random({5, 64}, 10);
  LinearWeight weight(random({8, 64}, 11), LinearMode::ternary, at::kFloat);
  weight.refresh();
  const auto input = [&] { return normed_input(x, at::ones({64}), 1e-5, weight, 127.0F); };
  EXPECT_FALSE(input().tokens.values.defined());
  const LinearInput found = there(input);
  EXPECT_TRUE(found.tokens.values.defined());
  EXPECT_EQ(found.x.sizes(), x.sizes());
  EXPECT_EQ(found.x.storage().nbytes(), sizeof(float));
  EXPECT_TRUE(found.x.isnan().all().item<bool>());
}

// Two matrices of a normed input, forward and backward, here and there.
struct Branch {
  Tensor x, gain, a, b, y;
};
Branch run_branch(LinearMode mode, const std::shared_ptr<const TernaryRule>& rule) {
  Branch branch{leaf(random({40, 136}, 12)),
                leaf(random({136}, 13)),
                leaf(random({24, 136}, 14)),
                leaf(random({18, 136}, 15)),
                {}};
  LinearWeight a(branch.a, mode, at::kFloat, rule), b(branch.b, mode, at::kFloat, rule);
  a.refresh();
  b.refresh();
  const auto y = linear_group(normed_input(branch.x, branch.gain, 1e-5, a, 127.0F), {&a, &b});
  branch.y = at::cat({y[0], y[1]}, 1);
  (branch.y * random(branch.y.sizes(), 16)).sum().backward();
  return branch;
}

TEST(TrainKernels, LinearLayersOfANormedRowAreTheCpus) {
  const auto tequila = std::make_shared<Tequila>(1e-2F);
  using Rule = std::shared_ptr<const TernaryRule>;
  for (const auto& [mode, rule] :
       std::vector<std::pair<LinearMode, Rule>>{{LinearMode::ternary, nullptr},
                                                {LinearMode::ternary, tequila},
                                                {LinearMode::int8, nullptr}}) {
    const Branch here = run_branch(mode, rule);
    const Branch found = there([&] { return run_branch(mode, rule); });
    EXPECT_TRUE(rule == tequila || found.y.equal(here.y));
    expect_close(found.y.detach(), here.y.detach(), 1e-6, "y");  // a bias is summed elsewhere
    expect_close(found.x.grad(), here.x.grad(), 1e-5, "x");
    expect_close(found.gain.grad(), here.gain.grad(), 1e-5, "gain");
    expect_close(found.a.grad(), here.a.grad(), 1e-5, "a");
    expect_close(found.b.grad(), here.b.grad(), 1e-5, "b");
  }
}

// gamma is rounded from another sum in fp64: it is the same but where that lies on an edge.
TEST(TrainKernels, WeightsBecomeTernaryAsOnTheCpu) {
  for (const auto& [rows, cols] : Shapes{{5, 7}, {96, 130}, {1100, 2000}}) {
    SCOPED_TRACE(rows);
    Tensor w = random({rows, cols}, 17);
    w[0][0] = -0.0F;
    const TernaryMatrix here = Absmean().ternarize(w, {});
    const TernaryMatrix found = there([&] { return Absmean().ternarize(w, {}); });
    EXPECT_TRUE(found.values.equal(here.values));
    EXPECT_FLOAT_EQ(found.scale.item<float>(), here.scale.item<float>());
    EXPECT_TRUE(there([&] { return Absmean().ternarize(w, {}); }).scale.equal(found.scale));
  }
}

// By halves of gamma: half goes to even, so to zero.
TEST(TrainKernels, WeightsOnAnEdgeBecomeZero) {
  const Tensor w = torch::tensor({{1.0F, -1.0F, 2.0F, -4.0F}});  // gamma 2
  const TernaryMatrix found = there([&] { return device::ternarize(w); });
  EXPECT_EQ(found.scale.item<float>(), 2.0F);
  EXPECT_TRUE(found.values.equal(torch::tensor({{0, 0, 1, -1}}, at::kChar)));
}

TEST(TrainKernels, WeightsOfNothingAndWeightsThatAreNotFinite) {
  const TernaryMatrix nothing = there([&] { return device::ternarize(at::zeros({3, 5})); });
  EXPECT_EQ(nothing.scale.item<float>(), 0.0F);
  EXPECT_EQ(nothing.values.count_nonzero().item<int64_t>(), 0);
  for (const float bad : {kNan, kInfinity}) {
    Tensor w = random({3, 5}, 18);
    w[1][2] = bad;
    EXPECT_FALSE(std::isfinite(there([&] { return device::ternarize(w); }).scale.item<float>()));
  }
}

TEST(TrainKernels, DequantisedWeightsAreTheCpusToTheBit) {
  for (const int64_t cols : {5, 64, 1300}) {
    const Tensor values = at::randint(-127, 128, {6, cols}, at::kChar);
    for (const Tensor& scale : {random({6}, 19), torch::tensor({0.0123F})}) {
      for (const auto type : {at::kFloat, at::kBFloat16, at::kHalf}) {
        const auto here = device::dequantize(values, scale, type);
        const auto found = there([&] { return device::dequantize(values, scale, type); });
        EXPECT_EQ(found.weights.scalar_type(), type);
        EXPECT_TRUE(found.weights.equal(here.weights)) << cols << ' ' << type;
        EXPECT_TRUE(found.row_sum.equal(here.row_sum));
      }
    }
  }
}

TEST(TrainKernels, AScaleThatIsNotFiniteReachesTheDequantised) {
  const Tensor values = torch::tensor({{0, 1, -1, 1}}, at::kChar);
  for (const auto type : {at::kFloat, at::kBFloat16, at::kHalf}) {
    const auto found =
        there([&] { return device::dequantize(values, torch::tensor({kNan}), type); });
    EXPECT_TRUE(found.weights.isnan().all().item<bool>()) << type;
  }
}

TEST(TrainKernels, GatedUnitsAreTheCpusToTheBit) {
  for (const Activation activation : {Activation::swiglu, Activation::squared_relu}) {
    for (const int64_t width : {130, 33, 96}) {
      Tensor gate = 10 * random({33, width}, 20);
      gate[0][0] = -200.0F;
      gate[0][1] = 200.0F;
      const Tensor up = random(gate.sizes(), 21);
      const auto run = [&] { return glu(gate, up, activation); };
      EXPECT_TRUE(there(run).equal(run())) << width;
      expect_same_gradients({gate, up},
                            [&](const auto& in) { return glu(in[0], in[1], activation); });
    }
  }
}

TEST(TrainKernels, AGateThatIsNotFiniteIsNotHidden) {
  const Tensor gate = at::full({1, 4}, kNan);
  for (const Activation activation : {Activation::swiglu, Activation::squared_relu}) {
    const Tensor y = there([&] { return glu(gate, at::ones({1, 4}), activation); });
    EXPECT_TRUE(y.isnan().all().item<bool>());
  }
}

// n values, and others behind them that nobody may touch.
template <class T>
struct Guarded {
  explicit Guarded(size_t n) : size(n), all(n + kGuard, kMark) {}
  T* data() { return all.data(); }
  bool is_whole() const {
    return std::all_of(all.begin() + static_cast<ptrdiff_t>(size), all.end(),
                       [](T value) { return value == kMark; });
  }
  static constexpr size_t kGuard = 64;
  static constexpr T kMark = T(77);
  size_t size;
  std::vector<T> all;
};

// Rows that end within a four, so that nothing but the bound keeps the last thread in.
TEST(TrainKernels, NothingIsWrittenBeyondTheEnd) {
  constexpr size_t kRows = 3, kCols = 37, kN = kRows * kCols;
  const Tensor x = random({kRows, kCols}, 22), dy = random({kRows, kCols}, 23);
  const Tensor gain = at::ones({kCols});
  const float* const from = x.data_ptr<float>();
  const float* const back = dy.data_ptr<float>();
  Guarded<int8_t> q(kN);
  Guarded<float> scale(kRows), y(kN), dx(kN), strips(kN), gamma(1);
  Guarded<double> sums(device::kMagnitudeSums);
  Guarded<uint16_t> halves(kN);
  Guarded<int32_t> row_sum(kRows);
  const auto all_whole = [&] {
    return q.is_whole() && scale.is_whole() && y.is_whole() && dx.is_whole() && strips.is_whole() &&
           gamma.is_whole() && sums.is_whole() && halves.is_whole() && row_sum.is_whole();
  };
  const device::Kernels& run = kernels();
  run.quantize_tokens(stream(), from, kRows, kCols, 127.0F, q.data(), scale.data());
  run.rms_norm(stream(), from, gain.data_ptr<float>(), 1e-5F, kRows, kCols, y.data());
  run.norm_quantize(stream(), from, gain.data_ptr<float>(), 1e-5F, kRows, kCols, 7.0F, q.data(),
                    scale.data());
  run.rms_norm_backward(stream(), from, gain.data_ptr<float>(), 1e-5F, back, kRows, kCols,
                        dx.data(), strips.data());
  run.ternarize(stream(), from, kN, sums.data(), q.data(), gamma.data());
  run.dequantize(stream(), q.data(), scale.data(), true, kRows, kCols, device::FloatType::bf16,
                 halves.data(), row_sum.data());
  EXPECT_TRUE(all_whole());
  run.glu(stream(), Activation::swiglu, from, back, kN, y.data());
  run.glu_backward(stream(), Activation::swiglu, from, back, back, kN, dx.data(), strips.data());
  const std::vector<int32_t> acc(kN, 3);
  run.scale_accumulators(stream(), acc.data(), gain.data_ptr<float>(), true, scale.data(), nullptr,
                         kRows, kCols, y.data());
  EXPECT_TRUE(all_whole());
}

TEST(TrainKernels, AStudentLearnsAsOnTheCpu) {
  const FewSteps here = take_steps(torch::kCPU, 2);
  const FewSteps found = there([] { return take_steps(torch::kCPU, 2); });
  for (size_t i = 0; i < here.first_gradients.size(); ++i) {
    const Tensor a = here.first_gradients[i].reshape({-1});
    const Tensor b = found.first_gradients[i].reshape({-1});
    EXPECT_GT((a.dot(b) / (a.norm() * b.norm())).item<double>(), 0.999) << i;
  }
  EXPECT_NEAR(found.losses[0], here.losses[0], 1e-4 * here.losses[0]);
  for (size_t i = 0; i < here.losses.size(); ++i) {
    EXPECT_NEAR(found.losses[i], here.losses[i], 0.03 * here.losses[i]) << i;
  }
}

}  // namespace
}  // namespace tristill::train
