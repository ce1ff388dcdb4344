// tristill-bench: decode and prefill tokens a second of a model file, or of a model of random
// weights, through the engine as the daemon uses it, beside what the machine could do at most.
#include <CLI/CLI.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "base/atomic_file.h"
#include "base/check.h"
#include "base/exit_code.h"
#include "base/seconds_since.h"
#include "bench/limits.h"
#if defined(TRISTILL_CUDA)
#include "bench/limits_cuda.h"
#endif
#include "bench/random_model.h"
#include "bench/report.h"
#include "model/engine/engine.h"

namespace tristill::bench {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::seconds kPatience{600};

struct Options {
  std::string model;
  std::vector<uint32_t> threads = {1, 2};
  std::vector<uint32_t> sequences = {1};
  uint32_t prompt_tokens = 512;
  uint32_t output_tokens = 128;
  uint32_t repetitions = 5;
  std::string format = "text";
  std::string shape = "100m";
  std::string head = "int8";
  std::string packing = "auto";
  Device device = Device::cpu;
  std::string write;      // file for the random model
  std::string tokenizer;  // SentencePiece model for it
};

std::vector<engine::Generation> submit(engine::Engine& engine, uint32_t n_sequences,
                                       uint32_t prompt_tokens, uint32_t output_tokens) {
  std::vector<engine::GenerationRequest> requests;
  const uint32_t vocabulary = engine.model().config.vocab_size;
  for (uint32_t s = 0; s < n_sequences; ++s) {
    engine::GenerationRequest request;
    for (uint32_t i = 0; i < prompt_tokens; ++i) {
      request.prompt.push_back(static_cast<TokenId>((i * 97 + s * 31 + 3) % vocabulary));
    }
    request.sampling.temperature = 0.0F;
    request.max_tokens = output_tokens;
    request.ignore_eos = true;
    requests.push_back(std::move(request));
  }
  auto generations = engine.submit_all(std::move(requests));
  if (!generations) throw std::runtime_error(generations.error().message);
  return std::move(*generations);
}

// Reads to the end; every generation must end by its length.
void read_all(std::vector<engine::Generation>& generations) {
  for (auto& generation : generations) {
    while (const auto event = generation.next(kPatience)) {
      if (event->finish == engine::FinishReason::error) throw std::runtime_error(event->error);
    }
  }
}

double prefill_speed(engine::Engine& engine, uint32_t n_sequences, uint32_t n_tokens) {
  const auto start = Clock::now();
  auto generations = submit(engine, n_sequences, n_tokens, 1);
  read_all(generations);
  return n_sequences * n_tokens / seconds_since(start);
}

double decode_speed(engine::Engine& engine, uint32_t n_sequences, uint32_t n_tokens) {
  const auto start = Clock::now();
  auto generations = submit(engine, n_sequences, 1, n_tokens);
  read_all(generations);
  return n_sequences * n_tokens / seconds_since(start);
}

struct Limits {
  double int8_ops, read_bandwidth;  // a second
};

Limits limits_of(Device device, [[maybe_unused]] uint32_t threads, size_t bytes) {
#if defined(TRISTILL_CUDA)
  if (device == Device::cuda) return {measure_cuda_int8_ops(), measure_cuda_read_bandwidth(bytes)};
#endif
  CHECK(device == Device::cpu);
  return {measure_int8_ops(threads), measure_read_bandwidth(threads, bytes)};
}

Run measure(const std::shared_ptr<const Model>& model, const Options& options, uint32_t threads,
            uint32_t sequences) {
  engine::EngineOptions engine_options;
  engine_options.n_threads = threads;
  engine_options.max_sequences = sequences;
  // Every token is computed and none is guessed: the figures are the engine's own speed.
  engine_options.prefix_cache = false;
  engine_options.device = options.device;
  engine_options.draft_tokens = 0;
  // Room for all: nobody is preempted.
  engine_options.kv_cache_tokens =
      sequences * (std::max(options.prompt_tokens, options.output_tokens) + 2 * kKvBlockTokens);
  std::vector<double> prefill, decode;
  {
    engine::Engine engine(model, engine_options);
    const uint32_t prompt = std::min(options.prompt_tokens, engine.max_context() - 1);
    const uint32_t output = std::min(options.output_tokens, engine.max_context() - 1);
    prefill_speed(engine, sequences, prompt);  // warms caches and scratch memory
    for (uint32_t i = 0; i < options.repetitions; ++i) {
      prefill.push_back(prefill_speed(engine, sequences, prompt));
      decode.push_back(decode_speed(engine, sequences, output));
    }
  }
  const size_t bytes = decode_bytes(*model, sequences, options.device);
  const Limits limits = limits_of(options.device, threads, bytes);
  return {.threads = threads,
          .sequences = sequences,
          .prefill = series_of(prefill),
          .decode = series_of(decode),
          .int8_ops = limits.int8_ops,
          .read_bandwidth = limits.read_bandwidth,
          .decode_bytes = bytes};
}

// VmHWM or VmRSS of this process in bytes.
uint64_t memory_of(const std::string& key) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(key + ":")) return std::stoull(line.substr(key.size() + 1)) * 1024;
  }
  return 0;
}

PackingOptions packing_of(const Options& options) {
  using Ternary = PackingOptions::Ternary;
  PackingOptions packing;
  if (options.head == "int4") packing.head = PackingOptions::Head::int4;
  if (options.packing == "2bit" || options.device == Device::cuda)
    packing.ternary = Ternary::two_bit;
  if (options.packing == "dense") packing.ternary = Ternary::dense;
  return packing;
}

// The random model as a file that the daemon serves.
int write_random(const Options& options) {
  const auto spm = read_file(options.tokenizer);
  if (!spm) throw std::runtime_error(spm.error().message);
  const auto tokenizer = Tokenizer::from_sentencepiece(*spm);
  if (!tokenizer) throw std::runtime_error(tokenizer.error().message);
  const auto tensors = random_tensors(shape_named(options.shape));
  const auto done = write_model_file(options.write, tensors, **tokenizer, {{"origin", "random"}});
  if (!done) throw std::runtime_error(done.error().message);
  return kExitOk;
}

int run(const Options& options) {
  if (!options.write.empty()) return write_random(options);
  if (auto there = check_device(options.device); !there) {
    std::fprintf(stderr, "tristill-bench: %s\n", there.error().message.c_str());
    return exit_code(there.error().code);
  }
  const auto model = open_model(options.model, options.shape, packing_of(options));
  if (!model) {
    std::fprintf(stderr, "tristill-bench: %s\n", model.error().message.c_str());
    return exit_code(model.error().code);
  }
  Report report{.model = **model};
  for (const uint32_t threads : options.threads) {
    for (const uint32_t sequences : options.sequences) {
      report.runs.push_back(measure(*model, options, threads, sequences));
      report.resident = std::max(report.resident, memory_of("VmRSS"));
    }
  }
  report.prompt_tokens = options.prompt_tokens;
  report.output_tokens = options.output_tokens;
  if (options.format == "json") {
    print_json(report);
  } else if (options.format == "markdown") {
    print_markdown(report);
  } else {
    print_text(report);
  }
  return kExitOk;
}

}  // namespace
}  // namespace tristill::bench

int main(int argc, char** argv) {
  tristill::bench::Options options;
  CLI::App app("Decode and prefill tokens a second, beside the machine's limits");
  app.add_option("-m,--model", options.model, "model file; without it, random weights");
  app.add_option("--shape", options.shape, "of the random weights")
      ->check(CLI::IsMember({"100m", "700m", "2b"}));
  app.add_option("--head", options.head, "output head")->check(CLI::IsMember({"int8", "int4"}));
  app.add_option("--packing", options.packing, "ternary weights in memory")
      ->check(CLI::IsMember({"auto", "2bit", "dense"}));
  app.add_option("--device", options.device, "where the model is computed: cpu or cuda")
      ->transform(CLI::CheckedTransformer(std::map<std::string, tristill::Device>{
          {"cpu", tristill::Device::cpu}, {"cuda", tristill::Device::cuda}}));
  app.add_option("-t,--threads", options.threads, "threads, a list")->delimiter(',');
  app.add_option("-s,--sequences", options.sequences, "sequences at once, a list")->delimiter(',');
  app.add_option("-p,--prompt", options.prompt_tokens, "prompt tokens of the prefill");
  app.add_option("-n,--output", options.output_tokens, "tokens of the decode");
  app.add_option("-r,--repetitions", options.repetitions, "runs a figure; the median is shown")
      ->check(CLI::Range(1, 1000));
  app.add_option("-f,--format", options.format, "what is printed")
      ->check(CLI::IsMember({"text", "markdown", "json"}));
  app.add_option("--write", options.write, "writes the random model to FILE and ends")
      ->needs(app.add_option("--tokenizer", options.tokenizer,
                             "SentencePiece model of its vocabulary, for --write"));
  for (auto* option :
       {app.get_option("-t"), app.get_option("-s"), app.get_option("-p"), app.get_option("-n")}) {
    option->check(CLI::Range(1, 1 << 20));
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? tristill::kExitOk : tristill::kExitUsage;
  }
  try {
    return tristill::bench::run(options);
  } catch (const std::exception& failure) {
    std::fprintf(stderr, "tristill-bench: %s\n", failure.what());
    return tristill::kExitDefect;
  }
}
