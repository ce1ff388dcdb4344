#include "model/cuda/device_weights.h"

#include <stdexcept>
#include <string>
#include <utility>

#include "model/rope.h"

namespace tristill::cuda {
namespace {

// Many small arrays that travel together; each asker learns its place when all are there.
class Gathered {
 public:
  // `place` becomes null for no values. It must stay where it is until upload().
  void add(std::span<const float> values, const float*& place) {
    place = nullptr;
    if (values.empty()) return;
    askers_.emplace_back(&place, values_.size());
    values_.insert(values_.end(), values.begin(), values.end());
  }

  DeviceArray<float> upload() {
    DeviceArray<float> array{std::span<const float>(values_)};
    for (const auto& [place, offset] : askers_) *place = array.data() + offset;
    return array;
  }

 private:
  std::vector<float> values_;
  std::vector<std::pair<const float**, size_t>> askers_;
};

void check_shape(const Model& model) {
  const auto refuse = [&](const std::string& reason) {
    throw std::runtime_error("the model " + model.name + " does not run on the GPU: " + reason);
  };
  if (model.config.head_dim > kMaxHeadDim) {
    refuse("its head_dim is " + std::to_string(model.config.head_dim) + "; the most is " +
           std::to_string(kMaxHeadDim));
  }
  for (const LayerWeights& layer : model.layers) {
    for (const PanelMatrix* matrix : {&layer.qkv, &layer.o, &layer.gate_up, &layer.down}) {
      if (matrix->kind == PanelKind::dense) {
        refuse("its weights are packed dense, for CPUs; load it with two bits a weight");
      }
    }
  }
}

}  // namespace

DeviceWeights::DeviceWeights(const Model& model, uint32_t max_context)
    : layers(model.layers.size()) {
  check_shape(model);
  panels_ = DeviceArray<uint8_t>({model.memory.data(), model.memory.size()});
  const auto on_device = [&](const uint8_t* data) {
    return panels_.data() + (data - model.memory.data());
  };
  Gathered floats;
  const auto place = [&](const PanelMatrix& from, Matrix& to) {
    to = {.kind = from.kind,
          .panels = on_device(from.data),
          .rows = static_cast<uint32_t>(from.rows),
          .cols = static_cast<uint32_t>(from.cols)};
    floats.add(from.scale, to.scale);
    floats.add(from.bias, to.bias);
  };
  for (size_t i = 0; i < layers.size(); ++i) {
    const LayerWeights& from = model.layers[i];
    DeviceLayer& to = layers[i];
    floats.add(from.attn_norm, to.attn_norm);
    floats.add(from.ffn_norm, to.ffn_norm);
    floats.add(from.q_norm, to.q_norm);
    floats.add(from.k_norm, to.k_norm);
    floats.add(from.attn_sub_norm, to.attn_sub_norm);
    floats.add(from.ffn_sub_norm, to.ffn_sub_norm);
    place(from.qkv, to.qkv);
    place(from.o, to.o);
    place(from.gate_up, to.gate_up);
    place(from.down, to.down);
  }
  place(model.head.high, head);
  if (model.head.is_sliced()) {
    head.kind = PanelKind::sliced;
    head.middle = on_device(model.head.middle.data);
    head.low = on_device(model.head.low.data);
  }
  floats.add(model.output_norm, output_norm);
  embedding_scale = nullptr;
  if (model.embedding.rows > 0) {
    rows_ =
        DeviceArray<int8_t>({model.embedding.row(0), model.embedding.rows * model.embedding.cols});
    floats.add(model.embedding.scale, embedding_scale);
  }
  embedding = rows_.data();
  RopeTable rope(model.config.rope_theta, model.config.head_dim);
  rope.extend(max_context);
  floats.add(rope.cosine(), cosine);
  floats.add(rope.sine(), sine);
  floats_ = floats.upload();
}

}  // namespace tristill::cuda
