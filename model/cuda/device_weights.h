// DeviceWeights: a model's weights in device memory, the same bytes as the CPU's panels. Immutable.
#pragma once

#include <vector>

#include "model/cuda/device_model.h"
#include "model/cuda/runtime.h"
#include "model/weights.h"

namespace tristill::cuda {

struct DeviceLayer {
  const float* attn_norm;
  const float* ffn_norm;
  const float* q_norm;  // null without, as the next three
  const float* k_norm;
  const float* attn_sub_norm;
  const float* ffn_sub_norm;
  Matrix qkv, o, gate_up, down;
};

struct DeviceWeights {
  // Cosines and sines for positions below max_context. Throws std::runtime_error for a shape that
  // the kernels do not have, naming it.
  DeviceWeights(const Model& model, uint32_t max_context);

  std::vector<DeviceLayer> layers;
  Matrix head;
  const float* output_norm;
  const int8_t* embedding;  // [V, D]; null when the head's rows are it
  const float* embedding_scale;
  const float* cosine;  // [positions, head_dim / 2]
  const float* sine;

 private:
  DeviceArray<uint8_t> panels_;
  DeviceArray<int8_t> rows_;
  DeviceArray<float> floats_;
};

}  // namespace tristill::cuda
