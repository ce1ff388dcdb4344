#include "train/export.h"

#include "model/ternary.h"

namespace tristill::train {
namespace {

std::vector<float> floats(const torch::Tensor& tensor) {
  if (!tensor.defined()) return {};
  const auto contiguous = tensor.detach().cpu().contiguous();
  const auto* from = contiguous.data_ptr<float>();
  return {from, from + contiguous.numel()};
}

IntegerMatrix matrix(const LinearWeight& weight) {
  const torch::Tensor latent = weight.merged().cpu().contiguous();
  IntegerMatrix out;
  out.rows = static_cast<size_t>(latent.size(0));
  out.cols = static_cast<size_t>(latent.size(1));
  if (weight.mode() != LinearMode::dense) {
    const torch::Tensor on_cpu = weight.values().cpu();
    const auto* values = on_cpu.data_ptr<int8_t>();
    out.values.assign(values, values + out.rows * out.cols);
    out.scale = floats(weight.scale());
    out.bias = floats(weight.bias());
    return out;
  }
  out.values.resize(out.rows * out.cols);
  out.scale.resize(out.rows);
  quantize_rows_int8(latent.data_ptr<float>(), out.rows, out.cols, out.values.data(),
                     out.scale.data());
  return out;
}

}  // namespace

ModelTensors to_model_tensors(const Student& student) {
  ModelTensors model;
  model.config = student.config();
  model.config.weights = student.quantized() ? WeightKind::ternary : WeightKind::int8;
  model.embedding = matrix(student.embedding());
  if (!model.config.tied_embeddings) model.head = matrix(student.head());
  model.output_norm = floats(student.output_norm());
  for (const Block& block : student.blocks()) {
    LayerTensors layer;
    layer.attn_norm = floats(block.attn_norm);
    layer.ffn_norm = floats(block.ffn_norm);
    layer.q_norm = floats(block.q_norm);
    layer.k_norm = floats(block.k_norm);
    layer.attn_sub_norm = floats(block.attn_sub_norm);
    layer.ffn_sub_norm = floats(block.ffn_sub_norm);
    layer.q = matrix(block.q);
    layer.k = matrix(block.k);
    layer.v = matrix(block.v);
    layer.o = matrix(block.o);
    layer.gate = matrix(block.gate);
    layer.up = matrix(block.up);
    layer.down = matrix(block.down);
    model.layers.push_back(std::move(layer));
  }
  return model;
}

}  // namespace tristill::train
