// Model files on disk: one GGUF (v3) holds config, tokenizer, tensors and provenance.
//
// Tensors of architecture "tristill" (all names as llama.cpp spells them):
//   token_embd.weight        I8  [D, V] rows quantised by absmax   token_embd.scale  F32 [V]
//   output.weight / .scale   the same, only when the head is not tied
//   output_norm.weight       F32 [D]
//   blk.N.attn_norm.weight, blk.N.ffn_norm.weight        F32 [D]
//   blk.N.attn_q_norm.weight, blk.N.attn_k_norm.weight   F32 [head_dim]   when qk_norm
//   blk.N.attn_sub_norm.weight F32 [H*head_dim], blk.N.ffn_sub_norm.weight F32 [F]  when sub_norm
//   blk.N.{attn_q,attn_k,attn_v,attn_output,ffn_gate,ffn_up,ffn_down}.weight
//       ternary: TQ2_0 with block scale 1.0, and .scale F32 [1] = gamma
//       int8:    I8 rows, and .scale F32 [rows]
//       either:  .bias F32 [rows], added to what the layer gives; none when it is absent
// RoPE is the NEOX (half-split) form.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/mapped_file.h"
#include "base/result.h"
#include "model/config.h"
#include "model/tokenizer/tokenizer.h"

namespace tristill {

// One linear layer in exact integer form, row-major [rows, cols]: its own values, or a view of a
// mapped file's.
struct IntegerMatrix {
  size_t rows = 0;
  size_t cols = 0;
  std::vector<int8_t> values = {};  // T in {-1,0,1}, or int8; empty when stored
  std::vector<float> scale = {};    // 1 (gamma) when ternary, rows when int8
  std::vector<float> bias = {};     // rows, added to what the layer gives; empty: none
  std::span<const std::byte> stored_blocks = {};  // TQ2_0, block scales 1, every code a weight
  std::span<const int8_t> stored_rows = {};       // int8

  // [cols]; not for stored_blocks.
  const int8_t* row(size_t r) const {
    return (values.empty() ? stored_rows.data() : values.data()) + r * cols;
  }
};

// The matrix's values, wherever they are.
std::vector<int8_t> unpacked_values(const IntegerMatrix& matrix);

struct LayerTensors {
  std::vector<float> attn_norm, ffn_norm;          // [D]
  std::vector<float> q_norm, k_norm;               // [head_dim], empty without qk_norm
  std::vector<float> attn_sub_norm, ffn_sub_norm;  // [H*head_dim], [F], empty without sub_norm
  IntegerMatrix q, k, v, o, gate, up, down;
};

// A whole model in memory, as the trainer hands it over for export and tests build it.
struct ModelTensors {
  ModelConfig config;
  IntegerMatrix embedding;        // int8 [V, D]
  IntegerMatrix head;             // int8 [V, D], empty when tied
  std::vector<float> output_norm;  // [D]
  std::vector<LayerTensors> layers;
};

// Provenance: free key-value strings under "tristill.provenance.*" (job id, data manifest hash,
// metrics, licence). Shown by /v1/models.
using Provenance = std::map<std::string, std::string>;

// A chat template (Jinja), under GGUF's key "tokenizer.chat_template". Its language is for
// server/jinja to judge; larger ones are refused here.
constexpr size_t kMaxChatTemplateBytes = 256 << 10;

// Writes the file atomically (temp, fsync, rename); an empty chat_template is none. Errors:
// invalid_argument when shapes do not fit the config, resource_exhausted on a full disk. Same
// input, same bytes.
Result<void> write_model_file(const std::filesystem::path& path, const ModelTensors& model,
                              const Tokenizer& tokenizer, const Provenance& provenance,
                              std::string_view chat_template = {});

// Opens it: every length and every code is checked, matrices are views of the mapped file.
// Errors: not_found; corrupt naming the tensor or key; invalid_argument for an architecture or type
// we do not know, naming those we do.
struct LoadedModelFile {
  ModelTensors tensors;
  std::shared_ptr<const Tokenizer> tokenizer;
  Provenance provenance;
  std::shared_ptr<const MappedFile> mapping = nullptr;  // what stored matrices view
  std::string chat_template = {};  // empty: none
};
Result<LoadedModelFile> read_model_file(const std::filesystem::path& path);

}  // namespace tristill
