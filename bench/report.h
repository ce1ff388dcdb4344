// What tristill-bench measured, and how it is printed.
#pragma once

#include <cstdint>
#include <vector>

#include "model/backend.h"
#include "model/weights.h"

namespace tristill::bench {

// Median, least and most of some runs.
struct Series {
  double median, least, most;
};
Series series_of(std::vector<double> values);  // at least one

struct Run {
  uint32_t threads, sequences;
  Series prefill, decode;  // tokens a second over all sequences
  double int8_ops;         // a second, at most
  double read_bandwidth;   // bytes a second, at most, from a buffer as large as decode_bytes
  size_t decode_bytes;     // of weights that a step of decode reads, at least
};

struct Report {
  const Model& model;
  std::vector<Run> runs = {};
  uint64_t resident = 0;  // bytes
  uint32_t prompt_tokens = 0, output_tokens = 0;
};

// Bytes of weights that a step of greedy decode reads at least: on the CPU, of few sequences the
// output head's high bits alone (model/shortlist.h).
size_t decode_bytes(const Model& model, uint32_t sequences, Device device);

// How near to the machine's limits: prefill by operations of the linear layers (the output head
// computes one token of a prompt), decode by bytes and by operations, whichever it is nearer to.
double prefill_share(const Run& run, const Model& model);
double decode_byte_share(const Run& run);
double decode_operation_share(const Run& run, const Model& model);

void print_text(const Report& report);
void print_markdown(const Report& report);
void print_json(const Report& report);

}  // namespace tristill::bench
