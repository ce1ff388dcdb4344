// Model: weights ready to compute with, plus tokenizer and provenance; immutable and shared.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "model/census.h"
#include "model/config.h"
#include "model/format/model_file.h"
#include "model/huge_pages.h"
#include "model/output_head.h"
#include "model/panels.h"
#include "model/tokenizer/tokenizer.h"

namespace tristill {

// How the weights lie in memory. The choice of ternary panels changes no result.
struct PackingOptions {
  enum class Ternary {
    automatic,  // dense for models beyond the near caches, where the CPU unpacks it well
    two_bit,
    dense
  } ternary = Ternary::automatic;
  // int4: the output head of an int8 file rounded once more. Half of its bytes a token, for other
  // logits: a choice of quality against speed.
  enum class Head { int8, int4 } head = Head::int8;
};

struct LayerWeights {
  std::vector<float> attn_norm, ffn_norm, q_norm, k_norm, attn_sub_norm, ffn_sub_norm;
  PanelMatrix qkv;  // rows of q, of k, of v, each padded to a multiple of 16
  PanelMatrix o;
  PanelMatrix gate_up;  // 16 rows of gate, 16 of up, and so on
  PanelMatrix down;
};

struct Model {
  std::string name;  // the file's stem
  ModelConfig config;
  OutputHead head;  // [V, D]
  // int8 [V, D]: rows of the mapped file, or of the tensors that the model was made of; empty when
  // tied to an int8 head, which holds them.
  IntegerMatrix embedding;
  std::shared_ptr<const MappedFile> mapping;  // what the embedding views, if anything
  std::vector<float> output_norm;
  std::vector<LayerWeights> layers;
  HugePages memory;  // the data of all matrices
  std::shared_ptr<const Tokenizer> tokenizer;
  Provenance provenance;
  std::string chat_template;  // Jinja, as the file carries it; empty: none
  size_t weight_bytes = 0;  // resident
  size_t linear_bytes = 0;  // of them, those of the linear layers in the blocks
  TernaryCensus census;  // of those layers
  std::string fingerprint;  // a hash over config and weights, 16 hex digits

  // out [D] = the token's row. CHECKs that there is one.
  void embed(TokenId token, float* out) const;
};

// Packs tensors for the kernels, on all usable cores. CHECKs shapes: the tensors come from
// read_model_file or tests.
std::shared_ptr<const Model> make_model(std::string name, LoadedModelFile file,
                                        const PackingOptions& packing = {});

// read_model_file + make_model; the name is the file's stem.
Result<std::shared_ptr<const Model>> load_model(const std::filesystem::path& path,
                                                const PackingOptions& packing = {});

}  // namespace tristill
