// The operations for other devices, on CPU tensors, against the CPU's own kernels: whole numbers to
// the bit, floats and gradients nearly.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/support/test_model.h"
#include "tests/train/torch/few_steps.h"
#include "tests/train/torch/twice.h"
#include "train/device/head_loss.h"
#include "train/device/ops.h"
#include "train/device/place.h"
#include "train/loss/head_loss.h"
#include "train/optim/muon.h"
#include "train/optim/optimizer.h"
#include "train/optim/ordered_sum.h"
#include "train/quant/tequila.h"
#include "train/quant/twn.h"
#include "train/run/gradient_step.h"
#include "train/student/attention.h"

namespace tristill::train {
namespace {

using torch::Tensor;

// Runs an operation on copies of the inputs here and there, and compares results and gradients.
template <class Here, class There>
void expect_same(const std::vector<Tensor>& inputs, const Here& here, const There& there,
                 double tolerance = 1e-5, double gradients = 1e-4) {
  std::vector<Tensor> a, b;
  for (const Tensor& input : inputs) {
    a.push_back(leaf(input));
    b.push_back(leaf(input));
  }
  const Tensor ya = here(a);
  const Tensor yb = there(b);
  expect_close(yb, ya, tolerance, "result");
  const Tensor weight = random(ya.sizes(), 99);
  (ya * weight).sum().backward();
  (yb * weight).sum().backward();
  for (size_t i = 0; i < a.size(); ++i) {
    expect_close(b[i].grad(), a[i].grad(), gradients, ("input " + std::to_string(i)).c_str());
  }
}

TEST(DeviceOps, RmsNormIsTheKernels) {
  for (const int64_t d : {16, 300}) {
    expect_same(
        {random({70, d}, 1), random({d}, 2)},
        [](const auto& in) { return rms_norm(in[0], in[1], 1e-5); },
        [](const auto& in) { return device::rms_norm(in[0], in[1], 1e-5); });
  }
}

TEST(DeviceOps, GluIsTheKernels) {
  for (const Activation activation : {Activation::swiglu, Activation::squared_relu}) {
    expect_same(
        {random({33, 130}, 3), random({33, 130}, 4)},
        [&](const auto& in) { return glu(in[0], in[1], activation); },
        [&](const auto& in) { return device::glu(in[0], in[1], activation); });
  }
}

TEST(DeviceOps, HeadsAreNormedRotatedAndGatheredAsByTheKernels) {
  const int64_t batch = 2, tokens = 5, groups = 2, repeats = 3, dim = 8;
  const RopeTable table = rope_table(tokens + 3, dim, 1e4);
  const Tensor x = random({batch * tokens, groups * repeats * dim}, 5);
  expect_same(
      {x, random({dim}, 6)},
      [&](const auto& in) { return norm_rope_heads(in[0], in[1], 1e-5, table, batch, groups); },
      [&](const auto& in) {
        return device::norm_rope_heads(in[0], in[1], 1e-5, table, batch, groups);
      });
  expect_same(
      {x}, [&](const auto& in) { return norm_rope_heads(in[0], {}, 1e-5, table, batch, groups); },
      [&](const auto& in) {
        return device::norm_rope_heads(in[0], {}, 1e-5, table, batch, groups);
      });
}

// More tokens than a block of queries has.
TEST(DeviceOps, AttentionIsThatOfTheCpu) {
  const int64_t batch = 2, tokens = 300, groups = 2, repeats = 2, dim = 16;
  Tensor starts = at::zeros({batch, tokens}, at::kInt);
  starts[0].slice(0, 40).fill_(40);
  starts[1].slice(0, 7).fill_(7);
  starts[1].slice(0, 270).fill_(270);
  const std::vector<Tensor> inputs = {random({batch * groups, tokens * repeats, dim}, 7),
                                      random({batch * groups, tokens, dim}, 8),
                                      random({batch * groups, tokens, dim}, 9)};
  for (const double cap : {0.0, 1.5}) {
    const auto here = [&](const auto& in) {
      return segment_attention(in[0], in[1], in[2], starts, cap);
    };
    expect_same(inputs, here, [&](const auto& in) {
      return device::segment_attention(in[0], in[1], in[2], starts, cap, at::kFloat);
    });
    expect_same(inputs, here, [&](const auto& in) {
      return device::blocked_attention(in[0], in[1], in[2], starts, cap, at::kFloat);
    });
    expect_same(
        inputs, here,
        [&](const auto& in) {
          return device::segment_attention(in[0], in[1], in[2], starts, cap, at::kBFloat16);
        },
        2e-2, 3e-2);
  }
}

// Halves on purpose: of 127 levels and of 7, and a row that is as good as zero.
TEST(DeviceQuantisation, TokensAreTheKernelsToTheBit) {
  Tensor x = random({200, 129}, 10);
  x[3].fill_(0.0F);
  x[4].fill_(1e-40F);
  x[5] = (at::arange(129) - 64).to(at::kFloat) * 0.5F;
  x[5][0] = 127.0F;
  x[6] = (at::arange(129) - 64).to(at::kFloat) * 0.5F;
  x[6][0] = -7.0F;
  x[6].clamp_(-7.0F, 7.0F);
  for (const float limit : {127.0F, 7.0F}) {
    const QuantizedTokens here = quantize_tokens(x, limit);
    const QuantizedTokens there = device::quantize_tokens(x, limit);
    EXPECT_TRUE(there.values.equal(here.values)) << limit;
    EXPECT_TRUE(there.scale.equal(here.scale)) << limit;
  }
}

TEST(DeviceQuantisation, ATokenThatIsNotFiniteIsNotHidden) {
  Tensor x = random({2, 16}, 11);
  x[1][3] = std::numeric_limits<float>::quiet_NaN();
  const QuantizedTokens tokens = device::quantize_tokens(x, 127.0F);
  EXPECT_TRUE(std::isfinite(tokens.scale[0].item<float>()));
  EXPECT_TRUE(std::isnan(tokens.scale[1].item<float>()));
}

// A latent and the weights that it becomes, here and there.
void expect_same_weight(const Tensor& latent, LinearMode mode,
                        const std::shared_ptr<const TernaryRule>& rule) {
  LinearWeight here(leaf(latent), mode, at::kFloat, rule);
  LinearWeight there(leaf(latent), mode, at::kFloat, rule);
  here.refresh();
  {
    const device::TakesEverything everything;
    there.refresh();
  }
  EXPECT_TRUE(there.values().equal(here.values()));
  expect_close(there.scale(), here.scale(), 1e-6, "scale");
  ASSERT_EQ(there.bias().defined(), here.bias().defined());
  if (here.bias().defined()) expect_close(there.bias(), here.bias(), 1e-5, "bias");
}

TEST(DeviceQuantisation, WeightsBecomeTheSame) {
  const Tensor latent = random({96, 130}, 12);
  expect_same_weight(latent, LinearMode::ternary, nullptr);
  expect_same_weight(latent, LinearMode::ternary, std::make_shared<Tequila>(1e-3F));
  expect_same_weight(latent, LinearMode::ternary, std::make_shared<Twn>());
  expect_same_weight(latent, LinearMode::int8, nullptr);
  expect_same_weight(at::zeros({4, 8}), LinearMode::ternary, nullptr);
  expect_same_weight(at::zeros({4, 8}), LinearMode::ternary, std::make_shared<Twn>());
}

// Wide enough that an int8 matrix's sums leave fp32's whole numbers, were they not cut.
TEST(DeviceProduct, AccumulatorsAreTheKernelsToTheBit) {
  const int64_t in = 4096;
  for (const LinearMode mode : {LinearMode::ternary, LinearMode::int8}) {
    LinearWeight weight(leaf(at::ones({40, in}) + 0.01 * random({40, in}, 13)), mode, at::kFloat);
    weight.refresh();
    const QuantizedTokens x = quantize_tokens(at::ones({20, in}) + 0.02 * random({20, in}, 14));
    const Tensor exact = integer_accumulators(x, weight);
    ASSERT_TRUE(mode == LinearMode::ternary || exact.max().item<int64_t>() > (1 << 24));
    const Tensor found = device::integer_accumulators(x, weight);
    EXPECT_EQ(found.scalar_type(), at::kInt);
    EXPECT_TRUE(found.equal(exact));
  }
}

TEST(DeviceProduct, OutputsAreTheKernelsToTheBit) {
  for (const LinearMode mode : {LinearMode::ternary, LinearMode::int8}) {
    const auto rule = mode == LinearMode::ternary ? std::make_shared<Tequila>(1e-2F) : nullptr;
    LinearWeight weight(leaf(random({64, 200}, 15)), mode, at::kFloat, rule);
    weight.refresh();
    const Tensor x = random({100, 200}, 16);
    const Tensor here = linear_group(x, {&weight})[0];
    const device::TakesEverything everything;
    EXPECT_TRUE(linear_group(x, {&weight})[0].equal(here));
  }
}

// Lists of different lengths, one of the whole vocabulary, rows without a label, without a teacher.
struct Taught {
  static constexpr int64_t kRows = 90, kVocab = 200, kWidth = 48;
  Taught() {
    at::manual_seed(17);
    labels = at::randint(0, kVocab, {kRows}, at::kLong);
    labels.slice(0, 80, 85).fill_(-100);
    for (int64_t row = 1; row < kRows; row += 2) {
      const int64_t n = row == 41 ? kVocab : 1 + row % 7;
      const Tensor logprobs = at::log_softmax(random({kVocab}, 100 + row) * 2, 0);
      const auto [best, ids] = logprobs.topk(n);
      std::vector<int32_t> list;
      std::vector<float> values;
      for (int64_t i = 0; i < n; ++i) {
        list.push_back(static_cast<int32_t>(ids[i].item<int64_t>()));
        values.push_back(best[i].item<float>());
      }
      teacher.add(row, list, values, row % 3 == 0);
    }
    structural.assign(kVocab, 0);
    for (int64_t i = 0; i < kVocab; i += 5) structural[static_cast<size_t>(i)] = 1;
  }
  Tensor labels;
  TeacherTargets teacher;
  std::vector<uint8_t> structural;
};

void expect_same_sums(const LossSums& there, const LossSums& here) {
  const auto near = [](double a, double b) { EXPECT_NEAR(a, b, 1e-5 * std::abs(b) + 1e-9); };
  near(there.ce, here.ce);
  near(there.kd, here.kd);
  near(there.z, here.z);
  near(there.format, here.format);
  near(there.weighted, here.weighted);
  EXPECT_EQ(there.tokens, here.tokens);
  EXPECT_EQ(there.taught_tokens, here.taught_tokens);
  EXPECT_EQ(there.format_tokens, here.format_tokens);
}

// Two of different widths; the second one's logits are capped.
struct TwoTeachers {
  TwoTeachers() {
    for (const int64_t width : {32, 64}) {
      heads.emplace_back(random({Taught::kVocab, width}, 30 + width), LinearMode::int8, at::kFloat);
      heads.back().refresh();
      hidden.push_back(random({Taught::kRows, width}, 40 + width));
    }
  }
  DenseTargets targets() const {
    DenseTargets targets;
    targets.teachers = {{hidden[0], &heads[0], 0, 2}, {hidden[1], &heads[1], 20, 1}};
    for (int64_t row = 0; row < Taught::kRows; ++row) targets.own.push_back(row % 4 == 0);
    return targets;
  }
  std::vector<LinearWeight> heads;
  std::vector<Tensor> hidden;
};

void expect_same_loss(const LossWeights& weights, const DenseTargets& dense = {}) {
  const Taught data;
  const Tensor hidden = random({Taught::kRows, Taught::kWidth}, 18);
  const Tensor latent = random({Taught::kVocab, Taught::kWidth}, 19);
  struct Side {
    Tensor hidden, loss;
    LinearWeight head;
    LossSums sums;
  };
  const auto run = [&](Side& side) {
    side.hidden = leaf(hidden);
    side.head = LinearWeight(leaf(latent), LinearMode::int8, at::kFloat);
    side.head.refresh();
    side.loss =
        head_loss(side.hidden, side.head, data.labels, data.teacher, weights, side.sums, {}, dense);
    (side.loss * 3.0).backward();
  };
  Side here, there;
  run(here);
  {
    const device::TakesEverything everything;
    run(there);
  }
  expect_same_sums(there.sums, here.sums);
  expect_close(there.loss, here.loss, 1e-5, "loss");
  expect_close(there.hidden.grad(), here.hidden.grad(), 1e-4, "hidden");
  expect_close(there.head.latent().grad(), here.head.latent().grad(), 1e-4, "latent");
}

TEST(DeviceLoss, EveryDivergenceIsThatOfTheCpu) {
  using job::Divergence;
  for (const Divergence divergence :
       {Divergence::forward_kl, Divergence::reverse_kl, Divergence::jsd, Divergence::skew_kl,
        Divergence::skew_reverse_kl}) {
    for (const double temperature : {1.0, 2.0}) {
      SCOPED_TRACE(std::string(to_string(divergence)) + " at " + std::to_string(temperature));
      expect_same_loss({.ce = 0.4,
                        .kd = 0.7,
                        .z = 1e-3,
                        .distillation = {.divergence = divergence, .temperature = temperature}});
    }
  }
}

TEST(DeviceLoss, SmoothedAndFocalLabelsAreThoseOfTheCpu) {
  const Taught data;
  const TwoTeachers teachers;
  for (const LabelLoss form : {LabelLoss{.smoothing = 0.1}, LabelLoss{.focal_gamma = 2}}) {
    for (const bool asked : {false, true}) {
      SCOPED_TRACE(asked);
      expect_same_loss({.ce = 0.4,
                        .kd = 0.7,
                        .z = 1e-3,
                        .label = form,
                        .softcap = 5,
                        .format = 0.3,
                        .structural = data.structural},
                       asked ? teachers.targets() : DenseTargets{});
    }
  }
}

// Every other row has a list, of the others teachers say all; some labels are the student's words.
TEST(DeviceLoss, TeachersInTheProcessTeachAsOnTheCpu) {
  using job::Divergence;
  const Taught data;
  const TwoTeachers teachers;
  for (const Divergence divergence :
       {Divergence::forward_kl, Divergence::reverse_kl, Divergence::jsd, Divergence::skew_kl,
        Divergence::skew_reverse_kl}) {
    for (const double softcap : {0.0, 15.0}) {
      SCOPED_TRACE(std::string(to_string(divergence)) + " capped at " + std::to_string(softcap));
      expect_same_loss({.ce = 0.4,
                        .kd = 0.7,
                        .z = 1e-3,
                        .softcap = softcap,
                        .distillation = {.divergence = divergence, .temperature = 1.5},
                        .format = 0.3,
                        .structural = data.structural},
                       teachers.targets());
    }
  }
}

TEST(DeviceLoss, EveryTailIsThatOfTheCpu) {
  using job::Tail;
  for (const Tail tail : {Tail::other, Tail::ignore, Tail::sampled, Tail::counts}) {
    SCOPED_TRACE(to_string(tail));
    expect_same_loss({.kd = 0.5, .distillation = {.tail = tail}});
  }
}

TEST(DeviceLoss, SoftcapAndFormatAreThoseOfTheCpu) {
  const Taught data;
  expect_same_loss({.z = 1e-2, .softcap = 15.0, .format = 0.3, .structural = data.structural});
}

TEST(DeviceLoss, TheScaleOfAnFp16RunIsThatOfTheCpu) { expect_same_loss({.scale = 1024}); }

TEST(DeviceLoss, EvaluationIsThatOfTheCpu) {
  const Taught data;
  LinearWeight head(random({Taught::kVocab, Taught::kWidth}, 20), LinearMode::int8, at::kFloat);
  head.refresh();
  const Tensor hidden = random({Taught::kRows, Taught::kWidth}, 21);
  const LossWeights weights{.softcap = 20.0};
  const LossSums here = evaluate_head(hidden, head, data.labels, weights);
  expect_same_sums(device::evaluate_head(hidden, head, data.labels, weights), here);
}

TEST(DeviceOptimizer, ReductionsAreThoseOfTheCpu) {
  Tensor x = random({70, 30}, 22);
  x[2].fill_(0.0F);
  const std::vector<double> squares = device::sums_of_squares({x, 2 * x});
  EXPECT_NEAR(squares[0], sum_of_squares(x), 1e-5 * squares[0]);
  EXPECT_NEAR(squares[1], 4 * squares[0], 1e-5 * squares[1]);
  EXPECT_EQ(device::counts_of_zeros({x, at::zeros({3, 4})}), (std::vector<double>{30, 12}));
  const Tensor here = orthogonalize(x, 5, at::kFloat);
  const device::TakesEverything everything;
  expect_close(orthogonalize(x, 5, at::kFloat), here, 1e-4, "update");
}

// Wide and tall ones, some of one shape: each is moved as on the CPU.
TEST(DeviceOptimizer, MatricesOfOneShapeAreMovedTogether) {
  const auto matrices = [] {
    std::vector<MuonMatrix> made;
    for (const auto& [rows, cols] : {std::pair{24, 40}, {40, 24}, {24, 40}, {16, 16}, {40, 24}}) {
      const uint64_t seed = 50 + made.size();
      made.push_back({random({rows, cols}, seed), random({rows, cols}, seed + 10),
                      random({rows, cols}, seed + 20) * 0.01});
    }
    return made;
  };
  const MuonRate rate{.lr = 0.1, .momentum = 0.9};
  const auto here = matrices();
  muon_step(here, rate, at::kFloat);
  const device::TakesEverything everything;
  const auto there = matrices();
  muon_step(there, rate, at::kFloat);
  for (size_t i = 0; i < here.size(); ++i) {
    expect_close(there[i].weight, here[i].weight, 1e-4, "weight");
    expect_close(there[i].momentum, here[i].momentum, 1e-6, "momentum");
    EXPECT_FALSE(here[i].weight.equal(matrices()[i].weight));
  }
}

TEST(DeviceOptimizer, EmbeddingGradientsAddUpByToken) {
  const Tensor tokens = torch::tensor({3, 1, 3, 0}, at::kLong);
  const Tensor grad = random({4, 6}, 23);
  const Tensor expected = at::zeros({5, 6}).index_add_(0, tokens, grad);
  expect_close(device::row_gradients(grad, tokens, 5), expected, 1e-6, "rows");
}

// A number on the edge of two levels falls the other way now and then, and a weight after it: so
// gradients point the same way rather than being the same, and losses drift apart step by step.
TEST(DeviceStudent, LearnsAsTheCpusDoes) {
  const FewSteps here = take_steps(torch::kCPU, 8);
  const device::TakesEverything everything;
  const FewSteps there = take_steps(torch::kCPU, 8);
  for (size_t i = 0; i < here.first_gradients.size(); ++i) {
    const Tensor a = here.first_gradients[i].reshape({-1});
    const Tensor b = there.first_gradients[i].reshape({-1});
    const double cosine = (a.dot(b) / (a.norm() * b.norm())).item<double>();
    EXPECT_GT(cosine, 0.999) << i;
    EXPECT_NEAR(b.norm().item<double>() / a.norm().item<double>(), 1.0, 0.01) << i;
  }
  EXPECT_NEAR(there.losses[0], here.losses[0], 1e-4 * here.losses[0]);
  EXPECT_LT(here.losses.back(), here.losses.front());
  for (size_t i = 0; i < here.losses.size(); ++i) {
    EXPECT_NEAR(there.losses[i], here.losses[i], 0.03 * here.losses[i]) << i;
  }
}

// A teacher's hidden states are its file's, but for tokens on the edge between two levels.
TEST(DeviceStudent, AFrozenModelThinksAsOnTheCpu) {
  for (const WeightKind kind : {WeightKind::int8, WeightKind::ternary}) {
    const ModelTensors tensors = test::random_model({.seed = 5, .weights = kind});
    const Student frozen = Student::frozen(tensors);
    const Batch batch = random_batch(tensors.config.vocab_size, 2, 24, 31);
    const Tensor here = frozen.hidden(batch.tokens, batch.segment_start);
    const device::TakesEverything everything;
    const Tensor there =
        Student::frozen(tensors, torch::kCPU).hidden(batch.tokens, batch.segment_start);
    const double apart = ((there - here).abs().mean() / here.abs().mean()).item<double>();
    EXPECT_LT(apart, 0.02);
  }
}

TEST(DeviceStudent, LearnsOfATeacherAsOnTheCpu) {
  const TaughtOnce here = learn_once_of_a_teacher(torch::kCPU);
  const device::TakesEverything everything;
  expect_taught_alike(learn_once_of_a_teacher(torch::kCPU), here);
}

TEST(DevicePlace, ARankHasTheDeviceOfItsNumber) {
  using job::TrainDevice;
  EXPECT_TRUE(choose_device(TrainDevice::cpu, 0, 4)->is_cpu());
  EXPECT_TRUE(choose_device(TrainDevice::automatic, 3, 0)->is_cpu());
  const auto second = choose_device(TrainDevice::automatic, 1, 2);
  ASSERT_TRUE(second);
  EXPECT_EQ(second->str(), "cuda:1");
  EXPECT_EQ(choose_device(TrainDevice::cuda, 0, 1)->str(), "cuda:0");
}

TEST(DevicePlace, ADeviceThatIsNotThereIsRefusedWithARemedy) {
  const auto none = choose_device(job::TrainDevice::cuda, 0, 0);
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().param, "device");
  EXPECT_NE(none.error().message.find("set device to cpu or auto"), std::string::npos);
  const auto third = choose_device(job::TrainDevice::automatic, 2, 2);
  ASSERT_FALSE(third);
  EXPECT_EQ(third.error().param, "ranks");
}

TEST(DevicePlace, FullMemoryIsNamedWithWhatHelps) {
  const auto full =
      out_of_memory(std::runtime_error("CUDA out of memory. Tried to allocate 2 GiB"));
  ASSERT_TRUE(full);
  EXPECT_EQ(full->code, ErrorCode::resource_exhausted);
  for (const char* remedy : {"batch_tokens", "micro_batches", "gradient_checkpointing"}) {
    EXPECT_NE(full->message.find(remedy), std::string::npos) << remedy;
  }
  EXPECT_FALSE(out_of_memory(std::runtime_error("a shape is wrong")));
  try {
    at::empty({int64_t{1} << 60}, at::kByte);
    FAIL() << "there is no such memory";
  } catch (const std::exception& failure) {
    EXPECT_TRUE(out_of_memory(failure)) << failure.what();
  }
}

}  // namespace
}  // namespace tristill::train
