// Teachers in the process: what they say, what a student makes of it, and its own words.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <cmath>

#include "model/transformer.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/test_model.h"
#include "train/export.h"
#include "train/loss/dense_distillation.h"
#include "train/loss/distillation.h"
#include "train/optim/optimizer.h"
#include "train/run/gradient_step.h"
#include "train/teach/on_policy.h"
#include "train/teach/teachers.h"

namespace tristill::train {
namespace {

using job::Divergence;
using torch::Tensor;

constexpr int64_t kRows = 4;
constexpr int64_t kColumns = 32;

// Documents of half a row each.
Batch random_batch(int64_t vocab) {
  at::manual_seed(7);
  Batch batch;
  batch.tokens = at::randint(3, vocab, {kRows, kColumns}, at::kLong);
  batch.labels = at::randint(3, vocab, {kRows, kColumns}, at::kLong);
  batch.segment_start = at::zeros({kRows, kColumns}, at::kInt);
  batch.segment_start.slice(1, kColumns / 2).fill_(kColumns / 2);
  return batch;
}

ModelTensors teacher_tensors(WeightKind kind = WeightKind::int8) {
  return test::random_model({.seed = 5, .weights = kind});
}

job::TrainSpec spec_for(const ModelConfig& config) {
  job::TrainSpec spec;
  spec.model = config;
  spec.sequence_length = kColumns;
  spec.teaching.teachers = {{.model = "teacher"}};
  return spec;
}

// A list of the whole vocabulary is the same as no list: the two ways must agree.
TEST(DenseDistillation, EqualsAListOfTheWholeVocabulary) {
  constexpr int64_t kVocab = 50;
  at::manual_seed(3);
  const Tensor teacher = at::randn({kVocab}).mul(2).log_softmax(0);
  const Tensor logits = at::randn({kVocab}).mul(2);
  const std::vector<float> listed(teacher.data_ptr<float>(), teacher.data_ptr<float>() + kVocab);
  StudentMasses student;
  for (int64_t i = 0; i < kVocab; ++i) student.listed.push_back(logits[i].item<double>());
  for (const auto divergence : {Divergence::forward_kl, Divergence::reverse_kl, Divergence::jsd,
                                Divergence::skew_kl, Divergence::skew_reverse_kl}) {
    for (const double temperature : {1.0, 2.5}) {
      const job::DistillationSpec spec{.divergence = divergence, .temperature = temperature};
      const DistilledToken expected = distil(spec, listed, student);
      std::vector<float> gradient(kVocab, 1.0F);
      const double loss = add_dense_distillation(
          spec, teacher.data_ptr<float>(), logits.data_ptr<float>(), kVocab, 0.5, gradient.data());
      EXPECT_NEAR(loss, expected.loss, 1e-5 * (1 + expected.loss));
      for (size_t i = 0; i < gradient.size(); ++i) {
        EXPECT_NEAR(gradient[i], 1 + 0.5 * expected.on_list[i], 1e-5) << i;
      }
    }
  }
}

TEST(FrozenStudent, SpeaksAsTheServedModel) {
  for (const auto kind : {WeightKind::int8, WeightKind::ternary}) {
    const ModelTensors tensors = teacher_tensors(kind);
    const Student frozen = Student::frozen(tensors);
    EXPECT_TRUE(frozen.parameters().empty());
    const Batch batch = random_batch(tensors.config.vocab_size);
    const Tensor one_row = batch.tokens.slice(0, 0, 1);
    const Tensor logits = frozen.logits(one_row, at::zeros({1, kColumns}, at::kInt));

    LoadedModelFile file;
    file.tensors = tensors;
    const auto model = make_model("served", std::move(file));
    ThreadTeam team(1);
    KvCache cache(model->config, kv_blocks_for(kColumns));
    std::vector<KvBlockId> blocks;
    for (uint32_t i = 0; i < kv_blocks_for(kColumns); ++i) blocks.push_back(cache.acquire());
    Transformer served(model, cache, team, kColumns);
    std::vector<TokenId> tokens(one_row.data_ptr<int64_t>(),
                                one_row.data_ptr<int64_t>() + kColumns);
    const Segment segment{tokens, 0, blocks};
    served.forward({&segment, 1});
    const uint32_t last = kColumns - 1;
    const auto expected = served.logits({&last, 1});
    // The cache holds halves, and a value on the edge between two levels then rounds to the other.
    double apart = 0;
    double size = 0;
    for (size_t i = 0; i < expected.size(); ++i) {
      const float own = logits[kColumns - 1][static_cast<int64_t>(i)].item<float>();
      apart += std::fabs(own - expected[i]);
      size += std::fabs(expected[i]);
    }
    EXPECT_LT(apart, 0.05 * size);
  }
}

class TeachersTest : public ::testing::Test {
 protected:
  std::string file(const ModelTensors& tensors, const char* name = "teacher.gguf") {
    const auto path = folder_.path() / name;
    EXPECT_TRUE(write_model_file(path, tensors, *test::tiny_tokenizer(), {}));
    return path.string();
  }
  Result<Teachers> open(const job::TrainSpec& spec, const std::string& path) {
    return Teachers::open({path}, spec, *test::tiny_tokenizer());
  }
  tests::TemporaryFolder folder_;
};

TEST_F(TeachersTest, AStudentLearnsToBeItsTeacher) {
  const ModelTensors tensors = teacher_tensors();
  job::TrainSpec spec = spec_for(tensors.config);
  auto teachers = open(spec, file(tensors));
  ASSERT_TRUE(teachers) << teachers.error().message;
  Student student(tensors.config, /*quantized=*/false, at::kFloat, 1);
  job::OptimizerSpec adamw;
  adamw.kind = job::OptimizerKind::adamw;
  adamw.adamw_lr = 3e-3;
  Optimizer optimizer(adamw, student.parameters(), at::kFloat);
  const LossWeights weights{.ce = 0, .kd = 1, .z = 0, .softcap = tensors.config.logit_softcap};
  const Batch batch = random_batch(tensors.config.vocab_size);
  std::vector<double> losses;
  for (int step = 0; step < 30; ++step) {
    Batch asked = batch;
    teachers->teach(asked);
    LossSums sums;
    student.loss(asked, weights, sums).backward();
    losses.push_back(sums.kd / static_cast<double>(sums.taught_tokens));
    optimizer.step(1.0);
    student.refresh();
  }
  EXPECT_EQ(batch.labels.numel(), kRows * kColumns);
  EXPECT_LT(losses.back(), 0.5 * losses.front());
  EXPECT_GT(losses.back(), 0);
}

// The file of a student is the student: what it would learn of itself is nothing, to the bit.
TEST_F(TeachersTest, AStudentHasNothingToLearnOfItself) {
  const ModelConfig config = test::random_model({.seed = 1, .logit_softcap = 10}).config;
  for (const bool quantized : {true, false}) {
    Student student(config, quantized, at::kFloat, 3);
    auto teachers = open(spec_for(config), file(to_model_tensors(student)));
    ASSERT_TRUE(teachers) << teachers.error().message;
    Batch batch = random_batch(config.vocab_size);
    teachers->teach(batch);
    LossSums sums;
    student.loss(batch, {.ce = 0, .kd = 1, .z = 0, .softcap = 10}, sums).backward();
    EXPECT_EQ(sums.taught_tokens, kRows * kColumns);
    const double kd = sums.kd / static_cast<double>(sums.taught_tokens);
    EXPECT_NEAR(kd, 0, quantized ? 1e-6 : 1e-2);  // full precision is served as int8
  }
}

TEST_F(TeachersTest, TwoTeachersAreAMixtureOfProbabilities) {
  const ModelTensors a = teacher_tensors();
  const ModelTensors b = test::random_model({.seed = 6, .weights = WeightKind::int8});
  job::TrainSpec spec = spec_for(a.config);
  spec.teaching.teachers = {{.model = "a", .weight = 3}, {.model = "b", .weight = 1}};
  auto teachers =
      Teachers::open({file(a, "a.gguf"), file(b, "b.gguf")}, spec, *test::tiny_tokenizer());
  ASSERT_TRUE(teachers);
  Batch batch = random_batch(a.config.vocab_size);
  teachers->teach(batch);
  const auto probabilities = [&](const ModelTensors& tensors) {
    return Student::frozen(tensors).logits(batch.tokens, batch.segment_start).softmax(1);
  };
  const Tensor log_p = (0.75 * probabilities(a) + 0.25 * probabilities(b)).log();
  Student student(a.config, /*quantized=*/false, at::kFloat, 1);
  const Tensor log_q = student.logits(batch.tokens, batch.segment_start).log_softmax(1);
  LossSums sums;
  student.loss(batch, {.ce = 0, .kd = 1, .z = 0, .softcap = a.config.logit_softcap}, sums);
  const double expected = (log_p.exp() * (log_p - log_q)).sum().item<double>();
  EXPECT_NEAR(sums.kd, expected, 1e-3 * expected);
}

TEST_F(TeachersTest, RelationsReachTheWeightsBelowTheirLayerOnly) {
  const ModelTensors tensors = teacher_tensors();
  job::TrainSpec spec = spec_for(tensors.config);
  spec.teaching.relation_weight = 1;
  spec.teaching.relation_layer = 0;
  auto teachers = open(spec, file(tensors));
  ASSERT_TRUE(teachers) << teachers.error().message;
  Student student(tensors.config, /*quantized=*/false, at::kFloat, 1);
  student.record_states(teachers->student_layer());
  Batch batch = random_batch(tensors.config.vocab_size);
  batch.labels[3].slice(0, kColumns / 2).fill_(kNoLabel);  // padding, of the second half alone
  const LossWeights weights{.ce = 0, .kd = 0, .z = 0, .relation = 1};
  Gradients whole = gradients_of(student, batch, weights, {.count = 1}, false, &*teachers);
  EXPECT_GT(whole.sums.relation, 0);
  const Gradients halves = gradients_of(student, batch, weights, {.count = 2}, false, &*teachers);
  EXPECT_NEAR(halves.sums.relation, whole.sums.relation, 1e-5);
  for (size_t i = 0; i < whole.tensors.size(); ++i) {
    const std::string& name = student.parameters()[i].name;
    const bool seen = name == "token_embd.weight" || name == "blk.0.attn_norm.weight" ||
                      name == "blk.0.attn_q.weight" || name == "blk.0.attn_k.weight" ||
                      name == "blk.0.attn_v.weight";
    EXPECT_EQ(whole.tensors[i].abs().max().item<double>() > 0, seen) << name;
    EXPECT_TRUE(at::allclose(whole.tensors[i], halves.tensors[i], 1e-3, 1e-6)) << name;
  }
}

TEST_F(TeachersTest, WhatDoesNotFitIsRefusedByName) {
  const ModelTensors tensors = teacher_tensors();
  const std::string path = file(tensors);
  job::TrainSpec longer = spec_for(tensors.config);
  longer.sequence_length = tensors.config.max_context + 1;
  EXPECT_EQ(open(longer, path).error().param, "teaching.teachers");
  job::TrainSpec layers = spec_for(tensors.config);
  layers.teaching.relation_weight = 1;
  layers.teaching.relation_teacher_layer = 99;
  EXPECT_EQ(open(layers, path).error().param, "teaching.relation_teacher_layer");
  job::TrainSpec heads = spec_for(tensors.config);
  heads.teaching.relation_weight = 1;
  heads.teaching.relation_heads = 7;
  EXPECT_EQ(open(heads, path).error().param, "teaching.relation_heads");
  EXPECT_FALSE(open(spec_for(tensors.config), "/nowhere.gguf"));
}

TEST(OwnWords, TheStudentWritesTheEndOfItsRowsTheSameAtAnyThreads) {
  const ModelConfig config = test::random_model({.seed = 1}).config;
  const Student student(config, /*quantized=*/true, at::kFloat, 3);
  job::TeachingSpec teaching;
  teaching.on_policy_share = 1;
  const Batch before = random_batch(config.vocab_size);
  const auto written = [&](int threads, uint64_t stream) {
    at::set_num_threads(threads);
    Batch batch = before;
    batch.tokens = before.tokens.clone();
    batch.labels = before.labels.clone();
    batch.segment_start = before.segment_start.clone();
    write_own_words(batch, student, teaching, {.seed = 9, .stream = stream, .eos = 1});
    return batch;
  };
  const Batch batch = written(1, 4);
  EXPECT_TRUE(at::equal(batch.tokens, written(2, 4).tokens));
  EXPECT_FALSE(at::equal(batch.tokens, written(1, 5).tokens));
  constexpr int64_t kPrompt = kColumns / 4;  // half of the first document
  for (int64_t row = 0; row < kRows; ++row) {
    for (int64_t t = 0; t < kColumns; ++t) {
      const auto at = static_cast<size_t>(row * kColumns + t);
      const int64_t token = batch.tokens[row][t].item<int64_t>();
      const int64_t label = batch.labels[row][t].item<int64_t>();
      if (t < kPrompt) {
        EXPECT_EQ(token, before.tokens[row][t].item<int64_t>());
      }
      if (t + 1 < kPrompt) {
        EXPECT_EQ(label, before.labels[row][t].item<int64_t>());
      }
      EXPECT_EQ(batch.dense.own[at] != 0, t + 1 >= kPrompt && label >= 0);
      if (batch.dense.own[at] != 0 && t + 1 < kColumns && label != 1) {
        EXPECT_EQ(label, batch.tokens[row][t + 1].item<int64_t>());
      }
      if (label >= 0) {
        EXPECT_EQ(batch.segment_start[row][t].item<int32_t>(), 0);
      }
    }
  }
  at::set_num_threads(1);
}

TEST(OwnWords, AreNoLabelsOfCrossEntropy) {
  const std::vector<float> logits = {0.1F, -0.3F, 0.7F};
  const Tensor teacher = torch::tensor({0.5F, 0.2F, -0.4F}).log_softmax(0);
  const auto gradient = [&](bool own, int64_t label) {
    std::vector<float> z = logits;
    TokenTargets targets{.label = label, .dense = teacher.data_ptr<float>(), .own = own};
    token_loss(z.data(), 3, targets, {.ce = 1, .kd = 1, .z = 0}, 1.0F);
    return z;
  };
  EXPECT_EQ(gradient(true, 0), gradient(true, 2));
  EXPECT_NE(gradient(false, 0), gradient(false, 2));
}

}  // namespace
}  // namespace tristill::train
