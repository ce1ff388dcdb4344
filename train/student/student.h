// Student: the transformer of model/transformer.h as a torch module, for training. Same function,
// same tensors; holds fp32 latents and derives what the kernels use once an optimiser step.
// Dimensions: B sequences, T tokens, N = B*T, D model, V vocabulary. Trainer's thread only.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "model/config.h"
#include "model/format/model_file.h"
#include "train/job/lora_spec.h"
#include "train/loss/attention_relation.h"
#include "train/loss/head_loss.h"
#include "train/student/fused_ops.h"
#include "train/student/linear.h"

namespace tristill::train {

// One packed batch, on the CPU: the student takes what it needs to its device. Segments are
// documents or their parts; nothing crosses them.
struct Batch {
  torch::Tensor tokens;         // [B, T] int64
  torch::Tensor labels;         // [B, T] int64, -100 is no label
  torch::Tensor segment_start;  // [B, T] int32
  TeacherTargets teacher;
  int64_t bytes = 0;            // of text behind the labelled tokens
  DenseTargets dense;           // of teachers in this process
  AttentionStates relation;     // of one layer of a teacher; undefined: none
};

struct NamedParameter {
  std::string name;  // as in the model file
  torch::Tensor tensor;
  bool is_matrix = false;  // a ternary (or dense) linear weight: Muon's
  bool is_scale = false;   // ln of a matrix's learned scale, [1]
  bool is_factor = false;  // low-rank, of an adapted matrix
};

struct Block {
  torch::Tensor attn_norm, ffn_norm, q_norm, k_norm, attn_sub_norm, ffn_sub_norm;
  LinearWeight q, k, v, o, gate, up, down;
};

class Student {
 public:
  // Random latents N(0, 1/in), o and down divided by sqrt(2 L); drawn from seed alone. The rule is
  // for the ternary layers; without one, absmean. Learned scales are the last parameters. All that
  // it holds is on the device; the draws are the CPU's, so they are the same on every device.
  Student(const ModelConfig& config, bool quantized, at::ScalarType compute, uint64_t seed,
          std::shared_ptr<const TernaryRule> rule = nullptr, torch::Device device = torch::kCPU);

  // A model as its file has it, to be asked and not to be trained: it has no parameters.
  static Student frozen(const ModelTensors& tensors, torch::Device device = torch::kCPU);

  // From here on only low-rank factors of the targets are trained (train/student/low_rank.h): they
  // become the parameters, named like blk.0.attn_q.lora_a, drawn from seed, and those that there
  // were become the base. The function is the same at first. For a dense student, once.
  void adapt(const job::LoraSpec& lora);
  bool is_adapted() const { return !base_.empty(); }

  // Derives ternary weights and scales; after each optimiser step and after loading.
  void refresh();

  // Learned scales start again from the latents as they are now; refresh() afterwards.
  void restart_scales();
  // Of the matrices that is_ternary names, which hold -s, 0 and s: what is served is just that.
  void start_from_ternary(const std::function<bool(const std::string& name)>& is_ternary);

  // Every matrix that is used through its derived tensors: tables first, then by block.
  std::vector<LinearWeight*> weights();
  // What refresh() gives one of them.
  double strength_of(const LinearWeight& weight) const;

  // Sets the gains of the norms before o and down so that these norms, newly inserted into a model
  // that had none, let pass what they are given on such a batch: each element times the rms of all.
  // In full precision where the rule knows it. Parameters alone are changed: refresh() afterwards.
  void calibrate_sub_norms(const torch::Tensor& tokens, const torch::Tensor& segment_start);

  // Bits of the inputs of ternary layers, and of down's; as in ModelConfig.
  void set_activation_bits(uint32_t bits, uint32_t down_bits);
  // How much the layers of the blocks are quantised, from the next refresh() on: 1 is as served.
  void set_strength(double strength) { strength_ = strength; }

  // Blocks keep their input only, and run again in the backward pass: train/student/recompute.h.
  void recompute_blocks(bool on) { recomputing_ = on; }

  // Hidden states after the final norm, [N, D].
  torch::Tensor hidden(const torch::Tensor& tokens, const torch::Tensor& segment_start) const;
  // Mean loss over labelled tokens (scalar), or the share of a batch that is part of one with
  // such counts. sums is set.
  torch::Tensor loss(const Batch& batch, const LossWeights& weights, LossSums& sums,
                     const std::optional<LabelCounts>& whole = {}) const;
  // Logits [N, V], no gradient: for tests and evaluation of small inputs.
  torch::Tensor logits(const torch::Tensor& tokens, const torch::Tensor& segment_start) const;

  const ModelConfig& config() const { return config_; }
  bool quantized() const { return quantized_; }
  // What is trained; and what an adapted student keeps as it is.
  const std::vector<NamedParameter>& parameters() const { return parameters_; }
  const std::vector<NamedParameter>& base() const { return base_; }
  // The tensors of the model, fp32: parameters(), or the base with what the factors add to it.
  std::vector<NamedParameter> model_tensors() const;
  const std::vector<Block>& blocks() const { return blocks_; }
  const LinearWeight& embedding() const { return embedding_; }
  const LinearWeight& head() const { return config_.tied_embeddings ? embedding_ : head_; }
  const torch::Tensor& output_norm() const { return output_norm_; }

  // What q, k and v of a layer give, from the last hidden() call; -1 is of none.
  void record_states(int64_t layer) { recorded_layer_ = layer; }
  const AttentionStates& states() const { return states_; }

  // Output rms of the two branches of each block over the residual's, from the last hidden() call
  // with record_gains(true): [2 L] in order attention, mlp.
  void record_gains(bool on) { recording_ = on; }
  const std::vector<double>& branch_gains() const { return gains_; }

 private:
  Student(const ModelConfig& config, bool quantized, torch::Device device);
  torch::Tensor gain(const std::string& name, int64_t size);
  LinearWeight matrix(const std::string& name, int64_t out, int64_t in, double std,
                      WeightKind kind);
  void name_scales();
  // The two branches of a block, of the residual stream h: each norms it first.
  torch::Tensor attention(const Block& block, const torch::Tensor& h,
                          const torch::Tensor& segment_start) const;
  torch::Tensor mlp(const Block& block, const torch::Tensor& h) const;
  // What the last matrix of a branch reads; x itself where there is no gain.
  LinearInput sub_norm(const torch::Tensor& x, const torch::Tensor& gain, const LinearWeight& next,
                       float limit) const;
  // One block, from the residual stream to the residual stream. gains: record_gains's, or null.
  torch::Tensor through(const Block& block, const torch::Tensor& h, const torch::Tensor& first_seen,
                        std::vector<double>* gains) const;

  ModelConfig config_;
  bool quantized_;
  at::ScalarType compute_;
  uint64_t seed_;
  torch::Device device_;
  std::shared_ptr<const TernaryRule> rule_;
  std::vector<NamedParameter> parameters_, base_;
  std::vector<Block> blocks_;
  LinearWeight embedding_, head_;
  torch::Tensor output_norm_;
  RopeTable rope_;
  double strength_ = 1.0;
  bool recording_ = false;
  bool recomputing_ = false;
  mutable std::vector<double> gains_;
  bool calibrating_ = false;
  int64_t recorded_layer_ = -1;
  mutable AttentionStates states_;
};

}  // namespace tristill::train
