// Model: weights ready to compute with, plus tokenizer and provenance; immutable and shared.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "model/config.h"
#include "model/format/model_file.h"
#include "model/huge_pages.h"
#include "model/panels.h"
#include "model/tokenizer/tokenizer.h"

namespace tristill {

struct LayerWeights {
  std::vector<float> attn_norm, ffn_norm, q_norm, k_norm, attn_sub_norm, ffn_sub_norm;
  PanelMatrix qkv;      // rows of q, of k, of v, each padded to a multiple of 16
  PanelMatrix o;
  PanelMatrix gate_up;  // 16 rows of gate, 16 of up, and so on
  PanelMatrix down;
};

struct Model {
  std::string name;  // the file's stem
  ModelConfig config;
  PanelMatrix embedding;  // int8 [V, D]; also the head when tied
  PanelMatrix head;       // empty when tied
  std::vector<float> output_norm;
  std::vector<LayerWeights> layers;
  HugePages memory;  // the data of all matrices
  std::shared_ptr<const Tokenizer> tokenizer;
  Provenance provenance;
  size_t weight_bytes = 0;  // resident
  std::string fingerprint;  // a hash over config and weights, 16 hex digits

  const PanelMatrix& output_head() const { return config.tied_embeddings ? embedding : head; }
};

// Packs tensors for the kernels, on all usable cores. CHECKs shapes: the tensors come from
// read_model_file or tests.
std::shared_ptr<const Model> make_model(std::string name, LoadedModelFile file);

// read_model_file + make_model; the name is the file's stem.
Result<std::shared_ptr<const Model>> load_model(const std::filesystem::path& path);

}  // namespace tristill
