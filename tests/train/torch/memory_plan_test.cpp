// What a step is predicted to need, against what it takes of the allocator.
#include <gtest/gtest.h>

#include "base/atomic_file.h"
#include "train/job/model_spec.h"
#include "train/run/memory_plan.h"
#include "train/run/step_trial.h"

namespace tristill::train {
namespace {

job::TrainSpec small_job() {
  job::TrainSpec spec;
  spec.model = {.n_layers = 2,
                .d_model = 128,
                .d_ff = 384,
                .n_heads = 4,
                .n_kv_heads = 2,
                .head_dim = 32,
                .vocab_size = 1024,
                .max_context = 512};
  spec.batch_tokens = 1024;
  spec.sequence_length = 128;
  spec.threads = 1;
  return spec;
}

void expect_close(const job::TrainSpec& spec) {
  const MemoryPlan plan = plan_memory(spec);
  const StepTrial trial = try_steps(spec, 2);
  const auto measured = static_cast<double>(trial.peak_bytes);
  EXPECT_NEAR(static_cast<double>(plan.peak), measured, 0.05 * measured)
      << "peak predicted at " << plan.peak_at;
}

TEST(MemoryPlan, IsWithinFivePercentOfTheAllocator) { expect_close(small_job()); }

TEST(MemoryPlan, KnowsSmallBatches) {
  job::TrainSpec spec = small_job();
  spec.batch_tokens = 128;
  expect_close(spec);
}

TEST(MemoryPlan, KnowsLargeVocabulariesAndUntiedHeads) {
  job::TrainSpec spec = small_job();
  spec.model.vocab_size = 8192;
  spec.model.tied_embeddings = false;
  expect_close(spec);
}

TEST(MemoryPlan, KnowsFullPrecisionWarmUpAndAdamW) {
  job::TrainSpec spec = small_job();
  spec.precision = job::Precision::fp32;
  spec.optimizer.kind = job::OptimizerKind::adamw;
  expect_close(spec);
  spec.quantization.lambda_warmup_steps = 100;
  expect_close(spec);
  spec.quantization.lambda_warmup_steps = 0;
  spec.quantized = false;
  spec.model.weights = WeightKind::int8;
  expect_close(spec);
}

TEST(MemoryPlan, KnowsMicroBatches) {
  job::TrainSpec spec = small_job();
  spec.batch_tokens = 4096;
  spec.micro_batches = 4;
  expect_close(spec);
}

TEST(MemoryPlan, KnowsGradientCheckpointing) {
  job::TrainSpec spec = small_job();
  spec.model.n_layers = 8;
  spec.batch_tokens = 2048;
  const uint64_t kept = plan_memory(spec).peak;
  spec.gradient_checkpointing = true;
  EXPECT_LT(plan_memory(spec).peak, kept / 2);
  expect_close(spec);
  spec.micro_batches = 4;
  expect_close(spec);
  spec.micro_batches = 1;
  spec.precision = job::Precision::fp32;
  spec.model.sub_norm = false;
  spec.model.qk_norm = false;
  expect_close(spec);
  spec.quantized = false;
  spec.model.weights = WeightKind::int8;
  expect_close(spec);
}

TEST(MemoryPlan, KnowsLowRankAdaptation) {
  job::TrainSpec spec = small_job();
  spec.quantized = false;
  spec.model.weights = WeightKind::int8;
  const MemoryPlan whole = plan_memory(spec);
  spec.lora = {
      .rank = 8,
      .alpha = 16,
      .targets = {"attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"}};
  EXPECT_LT(plan_memory(spec).gradients, whole.gradients / 10);
  EXPECT_LT(plan_memory(spec).optimizer, whole.optimizer / 8);
  for (const auto precision : {job::Precision::bf16, job::Precision::fp32}) {
    spec.precision = precision;
    expect_close(spec);
  }
  spec.micro_batches = 4;
  expect_close(spec);
  spec.model.n_layers = 8;
  spec.gradient_checkpointing = true;
  expect_close(spec);
  spec.gradient_checkpointing = false;
  spec.micro_batches = 1;
  spec.model.tied_embeddings = false;
  for (const std::vector<std::string>& targets :
       {std::vector<std::string>{"attn_q", "attn_v"}, {"ffn_down"}}) {
    spec.lora->targets = targets;
    expect_close(spec);
  }
}

TEST(MemoryPlan, KnowsModelsWithoutNorms) {
  job::TrainSpec spec = small_job();
  spec.model.sub_norm = false;
  spec.model.qk_norm = false;
  spec.model.n_kv_heads = 4;
  expect_close(spec);
}

TEST(MemoryPlan, CountsWhatNoMachineHolds) {
  job::TrainSpec spec = small_job();
  const auto text = read_file(TRISTILL_SOURCE_DIR "/configs/models/bitnet-kde-8.9b.json");
  ASSERT_TRUE(text);
  spec.model = *job::parse_model_config(*text);
  const MemoryPlan plan = plan_memory(spec);
  EXPECT_EQ(plan.latents, 4 * count_parameters(spec.model).total());
  EXPECT_GT(plan.peak, plan.latents + plan.optimizer + plan.derived + plan.gradients);
}

}  // namespace
}  // namespace tristill::train
