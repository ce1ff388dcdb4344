// ModelConfig: the architecture of one decoder-only transformer. Plain data plus its checks and
// counts. Any thread. Not the weights (weights.h), not its JSON (train/job/model_spec.h).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace tristill {

enum class Activation {
  swiglu,        // silu(gate) * up                      Shazeer 2020, eq. 6
  squared_relu,  // relu(gate)^2 * up                    BitNet b1.58 2B4T, section 2
};

enum class WeightKind {
  ternary,  // -1, 0, +1 times one fp32 scale a matrix       the product of this project
  int8,     // int8 times one fp32 scale a row               full-precision teachers, served W8A8
};

// The largest magnitude of an integer activation of so many bits. The output head's are 8.
constexpr float activation_limit(uint32_t bits) { return bits == 4 ? 7.0F : 127.0F; }

struct ModelConfig {
  uint32_t n_layers = 0;
  uint32_t d_model = 0;     // D
  uint32_t d_ff = 0;        // F, width of gate and up
  uint32_t n_heads = 0;     // H, query heads
  uint32_t n_kv_heads = 0;  // divides n_heads
  uint32_t head_dim = 0;    // even
  uint32_t vocab_size = 0;  // V
  uint32_t max_context = 0;
  uint32_t sliding_window = 0;  // positions that a token sees, its own included; 0: all before it
  float rope_theta = 10000.0F;
  float norm_eps = 1e-5F;
  float logit_softcap = 0.0F;  // cap * tanh(logit / cap); 0 is off
  float attention_softcap = 0.0F;  // the same of attention's scores, after 1 / sqrt(head_dim)
  Activation activation = Activation::squared_relu;
  WeightKind weights = WeightKind::ternary;
  uint32_t activation_bits = 8;  // of the inputs of ternary layers: 8 or 4
  uint32_t down_activation_bits = 8;  // of the input of down_proj, not below activation_bits
  bool ternary_attention = true;  // of a ternary model; false: these layers are int8 rows
  bool ternary_mlp = true;  // the same of gate, up and down
  bool qk_norm = true;  // RMSNorm of each query and key head before RoPE
  bool sub_norm = true;  // RMSNorm before o_proj and before down_proj (SubLN)
  bool tied_embeddings = true;  // the output head is the embedding

  uint32_t q_dim() const { return n_heads * head_dim; }
  uint32_t kv_dim() const { return n_kv_heads * head_dim; }
  WeightKind attention_weights() const { return ternary_attention ? weights : WeightKind::int8; }
  WeightKind mlp_weights() const { return ternary_mlp ? weights : WeightKind::int8; }
  // Largest magnitudes of the quantised inputs of q, k, v, o; of gate and up; of down.
  float attention_limit() const {
    return activation_limit(ternary_attention ? activation_bits : 8);
  }
  float mlp_limit() const { return activation_limit(ternary_mlp ? activation_bits : 8); }
  float down_limit() const { return activation_limit(down_activation_bits); }
};

// Every range and divisibility, named by field in Error::param. Inner dimensions of ternary
// models (d_model, d_ff, n_heads * head_dim) are multiples of 64.
Result<void> check_config(const ModelConfig& config);

struct ParameterCounts {
  uint64_t linear = 0;  // weights of all linear layers in the blocks
  uint64_t ternary = 0;  // of them, those that are -1, 0 or 1
  uint64_t embedding = 0;  // token embedding and an untied head
  uint64_t norm = 0;
  uint64_t total() const { return linear + embedding + norm; }
};
ParameterCounts count_parameters(const ModelConfig& config);

// Bytes of the tensors in a model file: two bits a ternary weight in whole blocks, a byte an int8
// one, their scales and the norms in fp32. Not the tokenizer.
uint64_t stored_bytes(const ModelConfig& config);

// Keys and values of one position in all layers, in fp16.
uint64_t kv_bytes_per_token(const ModelConfig& config);
// Names as written in JSON and GGUF.
std::string_view to_string(Activation activation);
std::string_view to_string(WeightKind weights);
Result<Activation> parse_activation(std::string_view name);
Result<WeightKind> parse_weight_kind(std::string_view name);

}  // namespace tristill
