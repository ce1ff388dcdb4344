// tristill-bench: decode and prefill tokens a second of a model file, or of a model of random
// weights in the 100M shape, through the engine as the daemon uses it.
#include <CLI/CLI.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#include "base/atomic_file.h"
#include "base/exit_code.h"
#include "base/random.h"
#include "bench/limits.h"
#include "model/engine/engine.h"

namespace tristill::bench {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::seconds kPatience{600};
constexpr uint64_t kSeed = 1;

struct Options {
  std::string model;
  std::vector<uint32_t> threads = {1, 2};
  std::vector<uint32_t> sequences = {1};
  uint32_t prompt_tokens = 512;
  uint32_t output_tokens = 128;
  uint32_t repetitions = 5;
  bool json = false;
  std::string shape = "100m";
  std::string head = "int8";
  std::string packing = "auto";
  std::string write;      // file for the random model
  std::string tokenizer;  // SentencePiece model for it
};

// Median, least and most of a series.
struct Series {
  double median, least, most;
};

Series series_of(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return {values[values.size() / 2], values.front(), values.back()};
}

struct Row {
  uint32_t threads, sequences;
  Series prefill, decode;  // tokens a second over all sequences
  double int8_ops, read_bandwidth;
};

// The shapes that peers are measured with: 100M is configs/models/distillix-100m.json.
ModelConfig shape_named(const std::string& name) {
  ModelConfig config;
  config.max_context = 4096;
  config.rope_theta = 1e6F;
  config.norm_eps = 1e-6F;
  config.activation = Activation::swiglu;
  config.sub_norm = false;
  config.vocab_size = 32000;
  if (name == "100m") {
    config.n_layers = 12;
    config.d_model = 768;
    config.d_ff = 2048;
    config.n_heads = 12;
    config.n_kv_heads = 4;
  } else if (name == "700m") {
    config.n_layers = 24;
    config.d_model = 1536;
    config.d_ff = 4096;
    config.n_heads = 24;
    config.n_kv_heads = 8;
  } else {
    config.n_layers = 30;
    config.d_model = 2560;
    config.d_ff = 6912;
    config.n_heads = 20;
    config.n_kv_heads = 5;
    config.vocab_size = 128256;
  }
  config.head_dim = config.d_model / config.n_heads;
  return config;
}

IntegerMatrix random_matrix(RandomStream& random, WeightKind kind, size_t rows, size_t cols) {
  const bool ternary = kind == WeightKind::ternary;
  IntegerMatrix m;
  m.rows = rows;
  m.cols = cols;
  m.values.resize(rows * cols);
  uint64_t state = random.below(UINT64_MAX);  // splitmix64: philox would take minutes for 2B
  for (auto& v : m.values) {
    state += 0x9E3779B97F4A7C15ULL;
    const uint64_t z = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9ULL;
    const uint64_t range = ternary ? 3 : 255;
    v = static_cast<int8_t>(static_cast<int>((z >> 32) * range >> 32) - (ternary ? 1 : 127));
  }
  m.scale.assign(ternary ? 1 : rows,
                 1.0F / std::sqrt(static_cast<float>(cols)) / (ternary ? 1.0F : 64.0F));
  return m;
}

ModelTensors random_tensors(const ModelConfig& c) {
  RandomStream random(kSeed, 0);
  ModelTensors t;
  t.config = c;
  t.embedding = random_matrix(random, WeightKind::int8, c.vocab_size, c.d_model);
  t.output_norm.assign(c.d_model, 1.0F);
  for (uint32_t l = 0; l < c.n_layers; ++l) {
    LayerTensors layer;
    layer.attn_norm.assign(c.d_model, 1.0F);
    layer.ffn_norm.assign(c.d_model, 1.0F);
    layer.q_norm.assign(c.head_dim, 1.0F);
    layer.k_norm.assign(c.head_dim, 1.0F);
    layer.q = random_matrix(random, c.weights, c.q_dim(), c.d_model);
    layer.k = random_matrix(random, c.weights, c.kv_dim(), c.d_model);
    layer.v = random_matrix(random, c.weights, c.kv_dim(), c.d_model);
    layer.o = random_matrix(random, c.weights, c.d_model, c.q_dim());
    layer.gate = random_matrix(random, c.weights, c.d_ff, c.d_model);
    layer.up = random_matrix(random, c.weights, c.d_ff, c.d_model);
    layer.down = random_matrix(random, c.weights, c.d_model, c.d_ff);
    t.layers.push_back(std::move(layer));
  }
  return t;
}

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

std::vector<engine::Generation> submit(engine::Engine& engine, uint32_t n_sequences,
                                       uint32_t prompt_tokens, uint32_t output_tokens) {
  std::vector<engine::Generation> generations;
  const uint32_t vocabulary = engine.model().config.vocab_size;
  for (uint32_t s = 0; s < n_sequences; ++s) {
    engine::GenerationRequest request;
    for (uint32_t i = 0; i < prompt_tokens; ++i) {
      request.prompt.push_back(static_cast<TokenId>((i * 97 + s * 31 + 3) % vocabulary));
    }
    request.sampling.temperature = 0.0F;
    request.max_tokens = output_tokens;
    request.ignore_eos = true;
    auto generation = engine.submit(std::move(request));
    if (!generation) throw std::runtime_error(generation.error().message);
    generations.push_back(std::move(*generation));
  }
  return generations;
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

Row measure(const std::shared_ptr<const Model>& model, const Options& options, uint32_t threads,
            uint32_t sequences) {
  engine::EngineOptions engine_options;
  engine_options.n_threads = threads;
  engine_options.max_sequences = sequences;
  // Every token is computed and none is guessed: the figures are the engine's own speed.
  engine_options.prefix_cache = false;
  engine_options.draft_tokens = 0;
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
  return {threads,
          sequences,
          series_of(prefill),
          series_of(decode),
          measure_int8_ops(threads),
          measure_read_bandwidth(threads)};
}

// VmHWM or VmRSS of this process in bytes.
uint64_t memory_of(const std::string& key) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(key + ":")) return std::stoull(line.substr(key.size() + 1)) * 1024;
  }
  return 0;
}

// Shares of the limits: prefill by operations, decode of one sequence by bytes.
double operation_share(const Row& row, const ModelConfig& config) {
  const auto macs = static_cast<double>(count_parameters(config).linear);
  return row.prefill.median * macs * 2.0 / row.int8_ops;
}
double byte_share(const Row& row, const Model& model) {
  return row.decode.median / row.sequences * static_cast<double>(model.weight_bytes) /
         row.read_bandwidth;
}

void print_text(const Model& model, const std::vector<Row>& rows, uint64_t resident) {
  std::printf("%s: %.1f M parameters, %.1f MB of weights, %.1f MB resident, kernels %s\n",
              model.name.c_str(), static_cast<double>(count_parameters(model.config).total()) / 1e6,
              static_cast<double>(model.weight_bytes) / 1e6, static_cast<double>(resident) / 1e6,
              kernels::best().isa);
  std::printf(
      "threads sequences | prefill tok/s (least, most) | decode tok/s (least, most) | "
      "int8 GOP/s  read GB/s | prefill/ops decode/bytes\n");
  for (const Row& r : rows) {
    std::printf(
        "%7u %9u | %8.0f (%7.0f, %7.0f) | %7.1f (%6.1f, %6.1f) | %10.0f %10.1f | "
        "%9.0f%% %11.0f%%\n",
        r.threads, r.sequences, r.prefill.median, r.prefill.least, r.prefill.most, r.decode.median,
        r.decode.least, r.decode.most, r.int8_ops / 1e9, r.read_bandwidth / 1e9,
        100 * operation_share(r, model.config), 100 * byte_share(r, model));
  }
}

void print_series(const char* name, const Series& s) {
  std::printf("\"%s\": {\"median\": %.2f, \"min\": %.2f, \"max\": %.2f}, ", name, s.median, s.least,
              s.most);
}

void print_json(const Model& model, const std::vector<Row>& rows, uint64_t resident) {
  // The fingerprint is hexadecimal and the kernels' names are ours: nothing needs escaping.
  std::printf(
      "{\"fingerprint\": \"%s\", \"parameters\": %llu, \"weight_bytes\": %zu, "
      "\"resident_bytes\": %llu, \"isa\": \"%s\", \"runs\": [",
      model.fingerprint.c_str(),
      static_cast<unsigned long long>(count_parameters(model.config).total()), model.weight_bytes,
      static_cast<unsigned long long>(resident), kernels::best().isa);
  for (size_t i = 0; i < rows.size(); ++i) {
    const Row& r = rows[i];
    std::printf("%s{\"threads\": %u, \"sequences\": %u, ", i == 0 ? "" : ", ", r.threads,
                r.sequences);
    print_series("prefill_tokens_per_s", r.prefill);
    print_series("decode_tokens_per_s", r.decode);
    std::printf("\"int8_ops_per_s\": %.4g, \"read_bytes_per_s\": %.4g}", r.int8_ops,
                r.read_bandwidth);
  }
  std::printf("]}\n");
}

PackingOptions packing_of(const Options& options) {
  using Ternary = PackingOptions::Ternary;
  PackingOptions packing;
  if (options.head == "int4") packing.head = PackingOptions::Head::int4;
  if (options.packing == "2bit") packing.ternary = Ternary::two_bit;
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
  std::shared_ptr<const Model> model;
  if (options.model.empty()) {
    LoadedModelFile file;
    file.tensors = random_tensors(shape_named(options.shape));
    model = make_model("random-" + options.shape, std::move(file), packing_of(options));
  } else {
    auto loaded = load_model(options.model, packing_of(options));
    if (!loaded) {
      std::fprintf(stderr, "tristill-bench: %s\n", loaded.error().message.c_str());
      return exit_code(loaded.error().code);
    }
    model = std::move(*loaded);
  }
  std::vector<Row> rows;
  uint64_t resident = 0;  // before the probes' own memory counts
  for (const uint32_t threads : options.threads) {
    for (const uint32_t sequences : options.sequences) {
      rows.push_back(measure(model, options, threads, sequences));
      resident = std::max(resident, memory_of("VmRSS"));
    }
  }
  (options.json ? print_json : print_text)(*model, rows, resident);
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
  app.add_option("-t,--threads", options.threads, "threads, a list")->delimiter(',');
  app.add_option("-s,--sequences", options.sequences, "sequences at once, a list")->delimiter(',');
  app.add_option("-p,--prompt", options.prompt_tokens, "prompt tokens of the prefill");
  app.add_option("-n,--output", options.output_tokens, "tokens of the decode");
  app.add_option("-r,--repetitions", options.repetitions, "runs a figure; the median is shown")
      ->check(CLI::Range(1, 1000));
  app.add_flag("--json", options.json, "one JSON object");
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
