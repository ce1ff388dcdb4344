// Tiny models and a tiny real tokenizer for tests, made from a seed: same seed, same bytes.
#pragma once

#include <cstdint>
#include <memory>

#include "model/format/model_file.h"

namespace tristill::test {

struct RandomModelOptions {
  uint64_t seed = 1;
  uint32_t d_model = 256, d_ff = 256, n_layers = 2, n_heads = 4, n_kv_heads = 2, head_dim = 64;
  uint32_t max_context = 256;
  uint32_t vocab_size = 0;  // 0: the tiny tokenizer's
  WeightKind weights = WeightKind::ternary;
  Activation activation = Activation::squared_relu;
  bool qk_norm = true, sub_norm = true, tied_embeddings = true;
  float logit_softcap = 0;
};

// Weights of a size that gives distinct, finite logits; the shape of options.
ModelTensors random_model(const RandomModelOptions& options = {});

// SentencePiece BPE: <unk>, </s>, the four control symbols, 256 byte pieces, letters and a few
// merges of Python. Built as a protobuf by hand: no trainer is needed.
std::shared_ptr<const Tokenizer> tiny_tokenizer();

}  // namespace tristill::test
