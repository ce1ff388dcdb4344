// Model: weights ready to compute with, plus tokenizer and provenance; immutable and shared.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "model/config.h"
#include "model/format/model_file.h"
#include "model/kernels/kernels.h"
#include "model/tokenizer/tokenizer.h"

namespace tristill {

// A linear layer prepared for the kernels. y = acc * (scale * s_token).
struct LinearWeights {
  WeightKind kind = WeightKind::ternary;
  size_t rows = 0;
  size_t cols = 0;
  std::vector<uint8_t> packed;  // ternary
  std::vector<int8_t> values;   // int8
  std::vector<int32_t> row_sum;  // int8
  std::vector<float> scale;     // 1 or rows
};

struct LayerWeights {
  std::vector<float> attn_norm, ffn_norm, q_norm, k_norm, attn_sub_norm, ffn_sub_norm;
  LinearWeights q, k, v, o, gate, up, down;
};

struct Model {
  std::string name;  // the file's stem
  ModelConfig config;
  LinearWeights embedding;  // int8 [V, D]; also the head when tied
  LinearWeights head;       // empty when tied
  std::vector<float> output_norm;
  std::vector<LayerWeights> layers;
  std::shared_ptr<const Tokenizer> tokenizer;
  Provenance provenance;
  size_t weight_bytes = 0;  // resident
  std::string fingerprint;  // sha256 over config and weights, first 16 hex digits

  const LinearWeights& output_head() const { return config.tied_embeddings ? embedding : head; }
};

// Packs tensors for the kernels. CHECKs shapes: the tensors come from read_model_file or tests.
std::shared_ptr<const Model> make_model(std::string name, LoadedModelFile file);

// read_model_file + make_model; the name is the file's stem.
Result<std::shared_ptr<const Model>> load_model(const std::filesystem::path& path);

}  // namespace tristill
