// Writes GGUF version 3 into memory, in the order of the calls: same calls, same bytes.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/format/gguf.h"

namespace tristill {

class GgufWriter {
 public:
  void add_text(std::string_view key, std::string_view value);
  void add_u32(std::string_view key, uint32_t value);
  void add_f32(std::string_view key, float value);
  void add_bool(std::string_view key, bool value);
  void add_bytes(std::string_view key, std::string_view bytes);
  void add_texts(std::string_view key, const std::vector<std::string>& values);
  void add_floats(std::string_view key, std::span<const float> values);
  void add_ints(std::string_view key, std::span<const int32_t> values);

  // dims innermost first; bytes are copied. CHECKs that they fit.
  void add_tensor(std::string_view name, TensorType type, const std::vector<uint64_t>& dims,
                  std::string bytes);

  std::string finish() const;

 private:
  struct Tensor {
    std::string name;
    TensorType type;
    std::vector<uint64_t> dims;
    std::string bytes;
  };
  void key(std::string_view name, GgufType type);
  std::string metadata_;
  uint64_t n_metadata_ = 0;
  std::vector<Tensor> tensors_;
};

}  // namespace tristill
