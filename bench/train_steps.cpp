// tristill-train-steps: optimiser steps of a student on random tokens with a random top-K teacher,
// on the CPU or a CUDA device: tokens a second, and how much of the device's peak that is.
//
//   tristill-train-steps configs/models/distillix-100m.json --device cuda --batch-tokens 65536
//
// One line of JSON. flops_per_token = 6 N + 12 L d T with N the weights that are multiplied with;
// mfu = tokens a second * flops_per_token / peak.
#include <nlohmann/json.hpp>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <optional>
#include <string>
#include <vector>

#include "base/atomic_file.h"
#include "base/random.h"
#include "base/seconds_since.h"
#include "train/device/kernel_launch.h"
#include "train/device/memory.h"
#include "train/device/place.h"
#include "train/job/model_spec.h"
#include "train/optim/optimizer.h"
#include "train/run/gradient_step.h"

namespace {

using namespace tristill;
using namespace tristill::train;
using Clock = std::chrono::steady_clock;

struct Options {
  std::string model;
  std::string device = "auto";
  int64_t batch_tokens = 65536;
  int64_t sequence_length = 1024;
  int64_t micro_batches = 1;
  int64_t teacher_k = 20;
  int warmup = 3;
  int steps = 10;
  bool keeps_softcap = false;
  bool aten = false;
  double peak_tflops = 989;
};

Options read_options(int argc, char** argv) {
  Options options;
  CLI::App app("Training steps on random tokens");
  app.add_option("model", options.model, "a file of configs/models")->required();
  app.add_option("--device", options.device)->check(CLI::IsMember({"auto", "cpu", "cuda"}));
  app.add_option("--batch-tokens", options.batch_tokens);
  app.add_option("--sequence-length", options.sequence_length);
  app.add_option("--micro-batches", options.micro_batches);
  app.add_option("--teacher-k", options.teacher_k, "0: no teacher");
  app.add_option("--warmup", options.warmup);
  app.add_option("--steps", options.steps);
  app.add_flag("--keep-softcap", options.keeps_softcap,
               "attention's soft-cap as the model has it; without, it is left out");
  app.add_flag("--aten", options.aten, "without kernels of ours on the device");
  app.add_option("--peak-tflops", options.peak_tflops, "of the device in bf16: 989 of an H200");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& wrong) {
    std::exit(app.exit(wrong));
  }
  return options;
}

// Rows of two documents each; every token has a label, and with k a teacher's list.
Batch random_batch(const Options& options, int64_t vocab) {
  const int64_t length = options.sequence_length;
  const int64_t rows = std::max<int64_t>(1, options.batch_tokens / length);
  Batch batch{at::randint(vocab, {rows, length}, at::kLong),
              at::randint(vocab, {rows, length}, at::kLong),
              at::zeros({rows, length}, at::kInt),
              {},
              0};
  batch.segment_start.slice(1, length / 2).fill_(length / 2);
  RandomStream random(1, 0);
  std::vector<int32_t> ids(static_cast<size_t>(options.teacher_k));
  const std::vector<float> logprobs(ids.size(), -4.0F);
  for (int64_t row = 0; row < rows * length && !ids.empty(); ++row) {
    const auto first = static_cast<int32_t>(random.below(static_cast<uint64_t>(vocab) / 2));
    for (size_t i = 0; i < ids.size(); ++i) ids[i] = first + static_cast<int32_t>(i);
    batch.teacher.add(row, ids, logprobs, false);
  }
  return batch;
}

double flops_per_token(const ModelConfig& config, int64_t length) {
  uint64_t weights = count_parameters(config).total();
  if (!config.tied_embeddings) weights -= uint64_t{config.vocab_size} * config.d_model;
  return 6.0 * static_cast<double>(weights) +
         12.0 * config.n_layers * static_cast<double>(config.q_dim()) * static_cast<double>(length);
}

int fail(const Error& error) {
  std::fprintf(stderr, "tristill-train-steps: %s\n", error.message.c_str());
  return 1;
}

// Seconds of each step after the warm-up, and the last loss.
std::vector<double> take_steps(const Options& options, const ModelConfig& config,
                               torch::Device device, double& loss) {
  Student student(config, true, at::kBFloat16, 1, nullptr, device);
  Optimizer optimizer({}, student.parameters(), at::kBFloat16);
  const Batch batch = random_batch(options, config.vocab_size);
  const LossWeights weights{.softcap = config.logit_softcap};
  std::vector<double> seconds;
  for (int step = 0; step < options.warmup + options.steps; ++step) {
    const auto start = Clock::now();
    Gradients gradients =
        gradients_of(student, batch, weights, {.count = options.micro_batches}, false);
    for (size_t i = 0; i < gradients.tensors.size(); ++i) {
      torch::Tensor(student.parameters()[i].tensor).mutable_grad() = gradients.tensors[i];
    }
    loss = gradients.sums.weighted / static_cast<double>(gradients.sums.tokens);
    gradients.tensors.clear();
    optimizer.step(1.0);
    student.refresh();
    device::finish_work(device);
    if (step < options.warmup) continue;
    seconds.push_back(seconds_since(start));
  }
  return seconds;
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = read_options(argc, argv);
  const auto text = read_file(options.model);
  if (!text) return fail(text.error());
  auto config = job::parse_model_config(*text);
  if (!config) return fail(config.error());
  if (!options.keeps_softcap) config->attention_softcap = 0;
  const auto wanted = options.device == "cuda"  ? job::TrainDevice::cuda
                      : options.device == "cpu" ? job::TrainDevice::cpu
                                                : job::TrainDevice::automatic;
  const auto device = choose_device(wanted, 0, cuda_devices());
  if (!device) return fail(device.error());
  try {
    std::optional<device::ChosenKernels> none;
    if (options.aten) none.emplace(nullptr);
    device::restart_peak(*device);
    double loss = 0;
    std::vector<double> seconds = take_steps(options, *config, *device, loss);
    std::ranges::sort(seconds);
    const double median = seconds[seconds.size() / 2];
    const double tokens = static_cast<double>(options.batch_tokens / options.sequence_length *
                                              options.sequence_length);
    const double flops = flops_per_token(*config, options.sequence_length);
    const nlohmann::json line = {{"model", options.model},
                                 {"device", device->str()},
                                 {"batch_tokens", options.batch_tokens},
                                 {"sequence_length", options.sequence_length},
                                 {"micro_batches", options.micro_batches},
                                 {"teacher_k", options.teacher_k},
                                 {"aten", options.aten},
                                 {"keep_softcap", options.keeps_softcap},
                                 {"step_seconds", median},
                                 {"step_seconds_all", seconds},
                                 {"tokens_per_second", tokens / median},
                                 {"flops_per_token", flops},
                                 {"mfu", tokens / median * flops / (options.peak_tflops * 1e12)},
                                 {"peak_bytes", device::peak_bytes(*device)},
                                 {"loss", loss}};
    std::puts(line.dump().c_str());
  } catch (const std::exception& failure) {
    return fail(out_of_memory(failure).value_or(Error{ErrorCode::internal, failure.what(), ""}));
  }
}
