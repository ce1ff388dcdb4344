#include "model/format/gguf_writer.h"

#include "base/check.h"

namespace tristill {
namespace {

constexpr size_t kAlignment = 32;

template <class T>
void put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

void put_text(std::string& out, std::string_view text) {
  put<uint64_t>(out, text.size());
  out += text;
}

void pad(std::string& out) {
  out.append((kAlignment - out.size() % kAlignment) % kAlignment, '\0');
}

}  // namespace

void GgufWriter::key(std::string_view name, GgufType type) {
  put_text(metadata_, name);
  put(metadata_, type);
  ++n_metadata_;
}

void GgufWriter::add_text(std::string_view name, std::string_view value) {
  key(name, GgufType::string);
  put_text(metadata_, value);
}

void GgufWriter::add_u32(std::string_view name, uint32_t value) {
  key(name, GgufType::u32);
  put(metadata_, value);
}

void GgufWriter::add_f32(std::string_view name, float value) {
  key(name, GgufType::f32);
  put(metadata_, value);
}

void GgufWriter::add_bool(std::string_view name, bool value) {
  key(name, GgufType::boolean);
  put<uint8_t>(metadata_, value ? 1 : 0);
}

void GgufWriter::add_bytes(std::string_view name, std::string_view bytes) {
  key(name, GgufType::array);
  put(metadata_, GgufType::u8);
  put_text(metadata_, bytes);
}

void GgufWriter::add_texts(std::string_view name, const std::vector<std::string>& values) {
  key(name, GgufType::array);
  put(metadata_, GgufType::string);
  put<uint64_t>(metadata_, values.size());
  for (const std::string& value : values) put_text(metadata_, value);
}

void GgufWriter::add_floats(std::string_view name, std::span<const float> values) {
  key(name, GgufType::array);
  put(metadata_, GgufType::f32);
  put<uint64_t>(metadata_, values.size());
  for (const float value : values) put(metadata_, value);
}

void GgufWriter::add_ints(std::string_view name, std::span<const int32_t> values) {
  key(name, GgufType::array);
  put(metadata_, GgufType::i32);
  put<uint64_t>(metadata_, values.size());
  for (const int32_t value : values) put(metadata_, value);
}

void GgufWriter::add_tensor(std::string_view name, TensorType type,
                            const std::vector<uint64_t>& dims, std::string bytes) {
  uint64_t elements = 1;
  for (const uint64_t dim : dims) elements *= dim;
  const BlockShape block = block_shape(type);
  CHECK(block.elements > 0 && elements / block.elements * block.bytes == bytes.size());
  tensors_.push_back({std::string(name), type, dims, std::move(bytes)});
}

std::string GgufWriter::finish() const {
  std::string out = "GGUF";
  put<uint32_t>(out, 3);
  put<uint64_t>(out, tensors_.size());
  put<uint64_t>(out, n_metadata_);
  out += metadata_;
  uint64_t offset = 0;
  for (const Tensor& tensor : tensors_) {
    put_text(out, tensor.name);
    put(out, static_cast<uint32_t>(tensor.dims.size()));
    for (const uint64_t dim : tensor.dims) put(out, dim);
    put(out, tensor.type);
    put(out, offset);
    offset += (tensor.bytes.size() + kAlignment - 1) / kAlignment * kAlignment;
  }
  pad(out);
  for (const Tensor& tensor : tensors_) {
    out += tensor.bytes;
    pad(out);
  }
  return out;
}

}  // namespace tristill
