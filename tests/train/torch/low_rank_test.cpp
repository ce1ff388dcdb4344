// Low-rank adaptation: the factors' gradients are those of the formula, and nothing else moves.
#include "train/student/low_rank.h"

#include <gtest/gtest.h>

#include "base/check.h"
#include "tests/support/test_model.h"
#include "train/device/ops.h"
#include "train/export.h"
#include "train/optim/optimizer.h"
#include "train/run/gradient_step.h"
#include "train/run/saved_weights.h"

namespace tristill::train {
namespace {

using torch::Tensor;

constexpr int64_t kTokens = 40;
constexpr int64_t kIn = 48;
constexpr int64_t kOut = 24;
constexpr int64_t kRank = 3;
constexpr double kScale = 1.5;

double relative_error(const Tensor& found, const Tensor& expected) {
  const Tensor wanted = expected.to(at::kDouble);
  return ((found.to(at::kDouble) - wanted).norm() / wanted.norm()).item<double>();
}

Tensor leaf(const Tensor& values, at::ScalarType type) {
  return values.detach().to(type, /*non_blocking=*/false, /*copy=*/true).set_requires_grad(true);
}

struct Adapted {
  Tensor base, a, b;
  LinearWeight weight;
};

Adapted adapted(at::ScalarType compute) {
  Adapted made{at::randn({kOut, kIn}) / 7,
               leaf(at::randn({kRank, kIn}) / 7, at::kFloat),
               leaf(at::randn({kOut, kRank}), at::kFloat),
               {}};
  made.weight = LinearWeight(leaf(made.base, at::kFloat), LinearMode::dense, compute);
  made.weight.adapt({made.a, made.b, kScale, compute});
  made.weight.refresh();
  return made;
}

// Of three matrices that share their input, as q, k and v do: adapted, kept, adapted.
void expect_gradients_of_the_formula(at::ScalarType compute, double tolerance) {
  at::manual_seed(3);
  const Adapted first = adapted(compute);
  const Adapted last = adapted(compute);
  LinearWeight kept(at::randn({kOut, kIn}) / 7, LinearMode::dense, compute);
  kept.refresh();
  const Tensor x = leaf(at::randn({kTokens, kIn}), at::kFloat);
  const Tensor wanted = at::randn({3, kTokens, kOut});
  const auto y = linear_group(x, {&first.weight, &kept, &last.weight});
  (at::stack(y) * wanted).sum().backward();

  const Tensor x64 = leaf(x, at::kDouble);
  std::vector<Tensor> factors, outputs;
  const auto plain = [&](const Adapted& from) {
    const Tensor a = leaf(from.a, at::kDouble);
    const Tensor b = leaf(from.b, at::kDouble);
    factors.insert(factors.end(), {a, b});
    return at::mm(x64, (from.base.to(at::kDouble) + kScale * at::mm(b, a)).t());
  };
  outputs.push_back(plain(first));
  outputs.push_back(at::mm(x64, kept.latent().to(at::kDouble).t()));
  outputs.push_back(plain(last));
  (at::stack(outputs) * wanted.to(at::kDouble)).sum().backward();

  for (size_t i = 0; i < 3; ++i) EXPECT_LT(relative_error(y[i], outputs[i]), tolerance) << i;
  EXPECT_LT(relative_error(x.grad(), x64.grad()), tolerance);
  const Tensor ours[] = {first.a, first.b, last.a, last.b};
  for (size_t i = 0; i < 4; ++i) {
    ASSERT_TRUE(ours[i].grad().defined()) << i;
    EXPECT_EQ(ours[i].grad().scalar_type(), at::kFloat);
    EXPECT_LT(relative_error(ours[i].grad(), factors[i].grad()), tolerance) << i;
  }
  EXPECT_FALSE(first.weight.latent().grad().defined());
}

TEST(LowRank, GradientsAreThoseOfTheFormula) {
  expect_gradients_of_the_formula(at::kFloat, 1e-5);
  expect_gradients_of_the_formula(at::kBFloat16, 2e-2);
}

TEST(LowRank, FactorsThatDoNotFitAreADefect) {
  EXPECT_THROW(LowRank(at::zeros({2, 8}), at::zeros({8, 3}), 1, at::kFloat), Defect);
}

const job::LoraSpec kOfAttention{.rank = 4, .alpha = 8, .targets = {"attn_q", "attn_output"}};
const job::LoraSpec kOfAll{
    .rank = 4,
    .alpha = 8,
    .targets = {"attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"}};

Student dense_student(uint64_t seed = 5) {
  return {test::random_model({.seed = 1}).config, false, at::kFloat, seed};
}

// B away from 0, as after some steps.
Student trained_student(const job::LoraSpec& lora) {
  Student student = dense_student();
  student.adapt(lora);
  at::manual_seed(7);
  const torch::NoGradGuard no_grad;
  for (const NamedParameter& factor : student.parameters()) {
    if (factor.name.ends_with("lora_b")) Tensor(factor.tensor).normal_(0, 0.02);
  }
  student.refresh();
  return student;
}

Batch small_batch() {
  at::manual_seed(11);
  Batch batch{at::randint(0, 64, {4, 32}, at::kLong), {}, at::zeros({4, 32}, at::kInt), {}, 0};
  batch.labels = batch.tokens.roll(-1, 1);
  return batch;
}

Tensor named(const std::vector<NamedParameter>& tensors, const std::string& name) {
  for (const NamedParameter& tensor : tensors) {
    if (tensor.name == name) return tensor.tensor;
  }
  return {};
}

TEST(AdaptedStudent, TrainsTheFactorsOfItsTargetsAndIsTheSameAtFirst) {
  const Student plain = dense_student();
  Student student = dense_student();
  student.adapt(kOfAttention);
  student.refresh();
  ASSERT_EQ(student.parameters().size(), 4 * student.blocks().size());
  const Tensor a = named(student.parameters(), "blk.1.attn_output.lora_a");
  const Tensor b = named(student.parameters(), "blk.1.attn_output.lora_b");
  ASSERT_TRUE(a.defined() && b.defined());
  const Tensor base = named(student.base(), "blk.1.attn_output.weight");
  EXPECT_EQ(a.sizes(), (std::vector<int64_t>{4, base.size(1)}));
  EXPECT_EQ(b.sizes(), (std::vector<int64_t>{base.size(0), 4}));
  const double in = static_cast<double>(base.size(1));
  EXPECT_NEAR(a.square().mean().item<double>() * in, 1.0, 0.2);
  EXPECT_EQ(b.abs().max().item<float>(), 0);
  EXPECT_FALSE(a.equal(named(student.parameters(), "blk.0.attn_output.lora_a")));
  for (const NamedParameter& factor : student.parameters()) EXPECT_FALSE(factor.is_matrix);
  EXPECT_EQ(student.base().size(), plain.parameters().size());
  const Batch batch = small_batch();
  EXPECT_TRUE(student.logits(batch.tokens, batch.segment_start)
                  .equal(plain.logits(batch.tokens, batch.segment_start)));
}

TEST(AdaptedStudent, ASecondAdaptationOrOneOfTernaryWeightsIsADefect) {
  Student student = dense_student();
  student.adapt(kOfAttention);
  EXPECT_THROW(student.adapt(kOfAttention), Defect);
  Student ternary(test::random_model({.seed = 1}).config, true, at::kFloat, 5);
  EXPECT_THROW(ternary.adapt(kOfAttention), Defect);
}

// A whole student of the merged weights has dW; dB = s dW A^t and dA = s B^t dW.
TEST(AdaptedStudent, GradientsFollowFromThoseOfTheMergedWeights) {
  for (const job::LoraSpec& lora : {kOfAttention, kOfAll}) {
    Student student = trained_student(lora);
    Student merged = dense_student();
    const std::vector<NamedParameter> model = student.model_tensors();
    for (size_t i = 0; i < model.size(); ++i) {
      const torch::NoGradGuard no_grad;
      Tensor(merged.parameters()[i].tensor).copy_(model[i].tensor);
    }
    merged.refresh();
    const Gradients thin = gradients_of(student, small_batch(), {}, {.count = 2}, false);
    const Gradients whole = gradients_of(merged, small_batch(), {}, {.count = 2}, false);
    EXPECT_NEAR(thin.sums.weighted, whole.sums.weighted, 1e-6 * whole.sums.weighted);
    ASSERT_EQ(thin.tensors.size(), 2 * lora.targets.size() * student.blocks().size());
    for (size_t i = 0; i < thin.tensors.size(); i += 2) {
      const NamedParameter& factor = student.parameters()[i];
      const std::string name = factor.name.substr(0, factor.name.rfind('.')) + ".weight";
      const Tensor a = factor.tensor.detach();
      const Tensor b = student.parameters()[i + 1].tensor.detach();
      for (size_t j = 0; j < model.size(); ++j) {
        if (model[j].name != name) continue;
        const Tensor dw = whole.tensors[j];
        EXPECT_LT(relative_error(thin.tensors[i], 2 * at::mm(b.t(), dw)), 1e-4) << name;
        EXPECT_LT(relative_error(thin.tensors[i + 1], 2 * at::mm(dw, a.t())), 1e-4) << name;
      }
    }
  }
}

TEST(AdaptedStudent, GradientCheckpointingHasTheSameGradients) {
  for (const job::LoraSpec& lora : {kOfAttention, kOfAll}) {
    Student kept = trained_student(lora);
    Student again = trained_student(lora);
    again.recompute_blocks(true);
    const Gradients a = gradients_of(kept, small_batch(), {}, {.count = 2}, false);
    const Gradients b = gradients_of(again, small_batch(), {}, {.count = 2}, false);
    for (size_t i = 0; i < a.tensors.size(); ++i) {
      EXPECT_GT(a.tensors[i].abs().max().item<float>(), 0) << kept.parameters()[i].name;
      EXPECT_TRUE(a.tensors[i].equal(b.tensors[i])) << kept.parameters()[i].name;
    }
  }
}

TEST(AdaptedStudent, OperationsOfADeviceHaveTheSameGradients) {
  Student here = trained_student(kOfAll);
  const Gradients a = gradients_of(here, small_batch(), {}, {}, false);
  const device::TakesEverything everything;
  Student there = trained_student(kOfAll);
  const Gradients b = gradients_of(there, small_batch(), {}, {}, false);
  for (size_t i = 0; i < a.tensors.size(); ++i) {
    EXPECT_LT(relative_error(b.tensors[i], a.tensors[i]), 1e-3) << here.parameters()[i].name;
  }
}

TEST(AdaptedStudent, StepsMoveTheFactorsAndLeaveTheBase) {
  Student student = dense_student();
  student.adapt(kOfAll);
  const Student before = dense_student();
  job::OptimizerSpec spec;
  spec.adamw_lr = 1e-2;
  Optimizer optimizer(spec, student.parameters(), at::kFloat);
  const Batch batch = small_batch();
  std::vector<double> losses;
  for (int step = 0; step < 20; ++step) {
    Gradients gradients = gradients_of(student, batch, {}, {}, false);
    for (size_t i = 0; i < gradients.tensors.size(); ++i) {
      Tensor(student.parameters()[i].tensor).mutable_grad() = gradients.tensors[i];
    }
    losses.push_back(gradients.sums.weighted);
    optimizer.step(1.0);
    student.refresh();
  }
  EXPECT_LT(losses.back(), 0.8 * losses.front());
  const std::vector<NamedParameter> model = student.model_tensors();
  for (size_t i = 0; i < model.size(); ++i) {
    EXPECT_TRUE(student.base()[i].tensor.equal(before.parameters()[i].tensor)) << model[i].name;
    EXPECT_NE(model[i].tensor.equal(student.base()[i].tensor), before.parameters()[i].is_matrix)
        << model[i].name;
  }
}

// Rows of int8 are within half a step of base + s B A.
TEST(AdaptedStudent, IsExportedMerged) {
  const Student student = trained_student(kOfAll);
  const ModelTensors exported = to_model_tensors(student);
  const std::pair<const char*, const IntegerMatrix&> matrices[] = {
      {"blk.1.attn_k", exported.layers[1].k}, {"blk.0.ffn_down", exported.layers[0].down}};
  for (const auto& [name, matrix] : matrices) {
    const std::string prefix = name;
    const Tensor base = named(student.base(), prefix + ".weight");
    const Tensor added = 2 * at::mm(named(student.parameters(), prefix + ".lora_b").detach(),
                                    named(student.parameters(), prefix + ".lora_a").detach());
    const Tensor values =
        torch::tensor(std::vector<int>(matrix.values.begin(), matrix.values.end()))
            .view(base.sizes());
    const Tensor scale = torch::tensor(matrix.scale).unsqueeze(1);
    const Tensor steps = (values * scale - (base + added)).abs() / scale;
    EXPECT_LT(steps.max().item<double>(), 0.501) << name;
    EXPECT_GT((added / scale).abs().max().item<double>(), 2) << name;  // base alone would fail
  }
}

TEST(SavedWeights, OfAnAdaptedStudentGoOnExactlyAndAreTheMergedModelToOthers) {
  const Student student = trained_student(kOfAttention);
  Checkpoint checkpoint;
  save_weights(student, checkpoint);
  Student resumed = dense_student(6);
  resumed.adapt(kOfAttention);
  ASSERT_TRUE(load_weights(resumed, checkpoint));
  for (size_t i = 0; i < student.parameters().size(); ++i) {
    EXPECT_TRUE(resumed.parameters()[i].tensor.equal(student.parameters()[i].tensor)) << i;
  }
  for (size_t i = 0; i < student.base().size(); ++i) {
    EXPECT_TRUE(resumed.base()[i].tensor.equal(student.base()[i].tensor)) << i;
  }
  Student next = dense_student(6);
  ASSERT_TRUE(load_first_weights(next, checkpoint));
  Student adapted_again = dense_student(6);
  adapted_again.adapt(kOfAttention);
  ASSERT_TRUE(load_first_weights(adapted_again, checkpoint));
  const std::vector<NamedParameter> model = student.model_tensors();
  for (size_t i = 0; i < model.size(); ++i) {
    EXPECT_TRUE(next.parameters()[i].tensor.equal(model[i].tensor)) << model[i].name;
    EXPECT_TRUE(adapted_again.model_tensors()[i].tensor.equal(model[i].tensor)) << model[i].name;
  }
  checkpoint.tensors.erase("lora.blk.0.attn_q.lora_b");
  const auto refused = load_weights(resumed, checkpoint);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("blk.0.attn_q.lora_b"), std::string::npos);
}

}  // namespace
}  // namespace tristill::train
