// What a step is predicted to need, against what it takes of the allocator.
#include <gtest/gtest.h>

#include <algorithm>

#include "base/atomic_file.h"
#include "train/job/model_spec.h"
#include "train/optim/optimizer.h"
#include "train/run/job_student.h"
#include "train/run/memory_plan.h"
#include "train/run/owners.h"
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
  const MemoryPlan plan = plan_memory(spec, {.exchanges = false});
  const StepTrial trial = try_steps(spec, 2, torch::kCPU, plan.rank);
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

TEST(MemoryPlan, KnowsOneOfSeveralRanks) {
  job::TrainSpec spec = small_job();
  spec.batch_tokens = 4096;
  spec.micro_batches = 4;
  for (const auto kind : {job::OptimizerKind::muon, job::OptimizerKind::adamw}) {
    spec.optimizer.kind = kind;
    for (const uint32_t ranks : {2U, 4U}) {
      spec.ranks = ranks;
      expect_close(spec);
    }
  }
}

// Costs of a step, by which ranks share out: 49152 * 17 of gate, up and down, 16384 * 17 of q and
// o, 8192 * 9 of k and v, 131072 of the table, all norms 1792. The largest first, each to the rank
// with least so far: three of the six of the MLPs and two of the four of q and o each, the table to
// rank 0, then k and v of the first layer to rank 1, k of the second to rank 0, v to rank 1, and
// all norms to rank 0.
TEST(MemoryPlan, CountsTheLargestShareOfTheOptimizersState) {
  job::TrainSpec spec = small_job();
  spec.micro_batches = 4;
  constexpr uint64_t kTable = 1024 * 128;
  constexpr uint64_t kNorms = 2 * (128 + 32 + 32 + 128 + 128 + 384) + 128;
  constexpr uint64_t kMatrices = 2 * (2 * 16384 + 2 * 8192 + 3 * 49152);
  const MemoryPlan whole = plan_memory(spec);
  EXPECT_EQ(whole.optimizer, 4 * (kMatrices + 2 * kTable + 2 * kNorms));
  EXPECT_EQ(whole.exchange, 0U);
  spec.ranks = 2;
  const MemoryPlan plan = plan_memory(spec);
  constexpr uint64_t kOwned = 3 * 49152 + 2 * 16384 + 8192;
  EXPECT_EQ(plan.rank, 0);
  EXPECT_EQ(plan.optimizer, 4 * (kOwned + 2 * kTable + 2 * kNorms));
  EXPECT_EQ(plan.latents, whole.latents);
  EXPECT_EQ(plan.gradients, whole.gradients);
  EXPECT_EQ(plan.activations, whole.activations);
  // One buffer of all gradients, and the half that comes: rank 0's. Four norms of 32 fill 64 each.
  constexpr uint64_t kFilled = 4 * 32;
  EXPECT_EQ(plan.exchange,
            4 * (kMatrices + kTable + kNorms + kFilled) + 4 * (kOwned + kTable + kNorms + kFilled));
}

TEST(MemoryPlan, CountsTheExchangeWhereItsMemoryIs) {
  job::TrainSpec spec = small_job();
  spec.batch_tokens = 32;
  spec.sequence_length = 16;
  spec.micro_batches = 2;
  spec.ranks = 2;
  const MemoryPlan plan = plan_memory(spec);
  EXPECT_EQ(plan.peak_at, "exchange");
  EXPECT_GT(plan.peak, plan_memory(spec, {.exchanges = false}).peak);
  const MemoryPlan on_device = plan_memory(spec, {.on_cpu = false});
  EXPECT_EQ(on_device.peak, plan_memory(spec, {.on_cpu = false, .exchanges = false}).peak);
  EXPECT_EQ(on_device.exchange, plan.exchange);
}

// Elements that the optimiser keeps of what each rank owns, times 4 bytes.
std::vector<uint64_t> state_by_rank(const job::TrainSpec& spec) {
  const Student student = job_student(spec, torch::kCPU);
  const auto owners = owners_of(student, spec.optimizer.kind, static_cast<int>(spec.ranks));
  std::vector<uint64_t> bytes(spec.ranks, 0);
  for (size_t i = 0; i < owners.size(); ++i) {
    const NamedParameter& parameter = student.parameters()[i];
    const job::OptimizerKind rule = rule_for(spec.optimizer.kind, parameter);
    uint64_t moments = 1;
    if (rule == job::OptimizerKind::adamw) moments = 2;
    if (rule == job::OptimizerKind::sgld) moments = 0;
    const auto elements = static_cast<uint64_t>(parameter.tensor.numel());
    bytes[static_cast<size_t>(owners[i])] += 4 * moments * elements;
  }
  return bytes;
}

void expect_shares(job::TrainSpec spec) {
  spec.micro_batches = 8;
  for (const uint32_t ranks : {1U, 2U, 4U, 8U}) {
    spec.ranks = ranks;
    const std::vector<uint64_t> bytes = state_by_rank(spec);
    const MemoryPlan plan = plan_memory(spec);
    EXPECT_EQ(plan.optimizer, *std::ranges::max_element(bytes)) << ranks;
    EXPECT_EQ(plan.optimizer, bytes.at(static_cast<size_t>(plan.rank))) << ranks;
  }
}

TEST(MemoryPlan, SharesOutAsRanksDo) {
  job::TrainSpec spec = small_job();
  for (const auto kind : {job::OptimizerKind::muon, job::OptimizerKind::adamw,
                          job::OptimizerKind::sgld, job::OptimizerKind::distillix_muon}) {
    spec.optimizer.kind = kind;
    expect_shares(spec);
  }
  spec.optimizer.kind = job::OptimizerKind::muon;
  spec.model.tied_embeddings = false;
  spec.model.sub_norm = false;
  spec.model.qk_norm = false;
  expect_shares(spec);
  spec.optimizer.kind = job::OptimizerKind::adamw;
  spec.quantized = false;
  spec.model.weights = WeightKind::int8;
  spec.lora = {.rank = 8, .alpha = 16, .targets = {"attn_q", "attn_v", "ffn_down"}};
  expect_shares(spec);
}

// A device has the logits of 4096 tokens at once, the CPU of 1024: in fp32, and in bf16 for the
// products, beside the hidden states in bf16 and 1 byte each.
TEST(MemoryPlan, KnowsTheChunksOfADevice) {
  job::TrainSpec spec = small_job();
  spec.model.vocab_size = 65536;
  spec.batch_tokens = 4096;
  const MemoryPlan on_cpu = plan_memory(spec);
  const MemoryPlan on_device = plan_memory(spec, {.on_cpu = false});
  EXPECT_EQ(on_cpu.peak_at, "loss");
  EXPECT_EQ(on_device.peak_at, "loss");
  EXPECT_EQ(on_device.peak - on_cpu.peak, 3072U * (65536 * (4 + 2) + 128 * (2 + 1)));
  spec.batch_tokens = 1024;
  EXPECT_EQ(plan_memory(spec, {.on_cpu = false}).peak, plan_memory(spec).peak);
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
