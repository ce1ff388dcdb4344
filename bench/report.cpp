#include "bench/report.h"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "model/kernels/kernels.h"
#include "model/shortlist.h"

namespace tristill::bench {
namespace {

using nlohmann::json;

double multiply_adds(const Model& model, bool with_head) {
  const auto linear = static_cast<double>(count_parameters(model.config).linear);
  const auto head = static_cast<double>(model.config.vocab_size) * model.config.d_model;
  return linear + (with_head ? head : 0.0);
}

double megabytes(size_t bytes) { return static_cast<double>(bytes) / 1e6; }

void print_heading(const Report& report) {
  const Model& model = report.model;
  std::printf("%s: %.1f M parameters, %.1f MB of weights, %.1f MB resident, kernels %s\n",
              model.name.c_str(), static_cast<double>(count_parameters(model.config).total()) / 1e6,
              megabytes(model.weight_bytes), megabytes(report.resident), kernels::best().isa);
}

json series_json(const Series& s) {
  return {{"median", s.median}, {"min", s.least}, {"max", s.most}};
}

}  // namespace

Series series_of(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return {values[values.size() / 2], values.front(), values.back()};
}

size_t decode_bytes(const Model& model, uint32_t sequences, Device device) {
  const bool whole_head = device == Device::cuda || sequences > Shortlist::kMostTokens;
  size_t bytes = whole_head ? model.head.bytes() : model.head.high.bytes();
  for (const LayerWeights& layer : model.layers) {
    bytes += layer.qkv.bytes() + layer.o.bytes() + layer.gate_up.bytes() + layer.down.bytes();
  }
  return bytes;
}

double prefill_share(const Run& run, const Model& model) {
  return run.prefill.median * 2.0 * multiply_adds(model, false) / run.int8_ops;
}
double decode_byte_share(const Run& run) {
  const double steps = run.decode.median / run.sequences;
  return steps * static_cast<double>(run.decode_bytes) / run.read_bandwidth;
}
double decode_operation_share(const Run& run, const Model& model) {
  return run.decode.median * 2.0 * multiply_adds(model, true) / run.int8_ops;
}

void print_text(const Report& report) {
  print_heading(report);
  std::printf(
      "threads sequences | prefill %-5u (least, most) | decode %-5u (least, most) | "
      "MB a step  GB/s read  int8 GOP/s | prefill/ops decode/bytes decode/ops\n",
      report.prompt_tokens, report.output_tokens);
  for (const Run& r : report.runs) {
    std::printf(
        "%7u %9u | %7.0f (%6.0f, %6.0f) | %6.0f (%6.0f, %6.0f) | "
        "%9.1f %10.1f %11.0f | %10.0f%% %11.0f%% %9.0f%%\n",
        r.threads, r.sequences, r.prefill.median, r.prefill.least, r.prefill.most, r.decode.median,
        r.decode.least, r.decode.most, megabytes(r.decode_bytes), r.read_bandwidth / 1e9,
        r.int8_ops / 1e9, 100 * prefill_share(r, report.model), 100 * decode_byte_share(r),
        100 * decode_operation_share(r, report.model));
  }
}

void print_markdown(const Report& report) {
  print_heading(report);
  std::printf(
      "\n| threads | sequences | prefill %u, tokens/s | decode %u, tokens/s | MB a step | "
      "GB/s read | int8 GOP/s | prefill, of the operations | decode, of the bytes | "
      "decode, of the operations |\n|---|---|---|---|---|---|---|---|---|---|\n",
      report.prompt_tokens, report.output_tokens);
  for (const Run& r : report.runs) {
    std::printf(
        "| %u | %u | %.0f (%.0f, %.0f) | %.0f (%.0f, %.0f) | %.1f | %.1f | %.0f | %.0f %% | "
        "%.0f %% | %.0f %% |\n",
        r.threads, r.sequences, r.prefill.median, r.prefill.least, r.prefill.most, r.decode.median,
        r.decode.least, r.decode.most, megabytes(r.decode_bytes), r.read_bandwidth / 1e9,
        r.int8_ops / 1e9, 100 * prefill_share(r, report.model), 100 * decode_byte_share(r),
        100 * decode_operation_share(r, report.model));
  }
}

void print_json(const Report& report) {
  const Model& model = report.model;
  json runs = json::array();
  for (const Run& r : report.runs) {
    runs.push_back({{"threads", r.threads},
                    {"sequences", r.sequences},
                    {"prefill_tokens_per_s", series_json(r.prefill)},
                    {"decode_tokens_per_s", series_json(r.decode)},
                    {"int8_ops_per_s", r.int8_ops},
                    {"read_bytes_per_s", r.read_bandwidth},
                    {"decode_bytes", r.decode_bytes},
                    {"prefill_share_of_operations", prefill_share(r, model)},
                    {"decode_share_of_bytes", decode_byte_share(r)},
                    {"decode_share_of_operations", decode_operation_share(r, model)}});
  }
  const json object = {{"model", model.name},
                       {"fingerprint", model.fingerprint},
                       {"parameters", count_parameters(model.config).total()},
                       {"weight_bytes", model.weight_bytes},
                       {"resident_bytes", report.resident},
                       {"isa", kernels::best().isa},
                       {"prompt_tokens", report.prompt_tokens},
                       {"output_tokens", report.output_tokens},
                       {"runs", runs}};
  std::printf("%s\n", object.dump().c_str());
}

}  // namespace tristill::bench
