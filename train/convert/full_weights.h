// FullWeights: the weights of a full-precision transformer, from a folder of safetensors as Hugging
// Face publishes them, a file of torch.save or a GGUF file, under the names of our own model file.
// What a conversion to ternary starts from. Any thread.
//
// Known: models of the Llama family (Llama, Mistral, Qwen3, BitNet): RMSNorm, RoPE in half-split
// form, gated MLP, no biases. GGUF files of architecture llama hold queries and keys permuted for
// interleaved RoPE; the permutation is undone.
#pragma once

#include <deque>
#include <filesystem>
#include <string>
#include <vector>

#include "base/mapped_file.h"
#include "base/result.h"
#include "model/config.h"
#include "train/convert/float_tensor.h"

namespace tristill::convert {

class FullWeights {
 public:
  // path: a folder with *.safetensors or else pytorch_model*.bin; a .safetensors, .gguf, .pt, .pth
  // or .bin. Errors: not_found, corrupt,
  // invalid_argument naming a tensor that no model of ours has (a bias, say).
  static Result<FullWeights> open(const std::filesystem::path& path);

  bool has(const std::string& name) const { return tensors_.contains(name); }
  // Our names without a tensor of theirs to take: what a model of this config would draw anew.
  // Errors: invalid_argument naming the tensor whose shape is another, and both shapes.
  Result<std::vector<std::string>> missing(const ModelConfig& config) const;
  // Whether the tensor holds -s, 0 and s alone, which is no full precision. It must be there.
  bool is_ternary(const std::string& name) const;
  // Row-major [out, in] or [n]; the tensor must be there.
  std::vector<float> values(const std::string& name, const ModelConfig& config) const;

 private:
  std::deque<MappedFile> files_;
  FloatTensors tensors_;  // by our names
  bool interleaved_rope_ = false;
};

}  // namespace tristill::convert
