#include "model/format/gguf.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/byte_reader.h"
#include "base/utf8.h"

namespace tristill {
namespace {

constexpr uint32_t kMagic = 0x46554747;  // "GGUF"
constexpr uint32_t kVersion = 3;
constexpr uint64_t kMaxEntries = 1 << 20;
constexpr uint64_t kMaxArray = 1 << 26;
constexpr uint64_t kDefaultAlignment = 32;
constexpr uint32_t kMaxDims = 4;
constexpr size_t kMaxName = 255;  // of keys and tensors; short enough to be shown

Error corrupt(std::string message) {
  return {ErrorCode::corrupt, "model file: " + std::move(message), "model"};
}

constexpr const char* kBadName = " is empty, longer than 255 bytes or not UTF-8";

bool is_name(const std::string& name) {
  return !name.empty() && name.size() <= kMaxName && utf8_is_valid(name);
}

std::string read_text(ByteReader& in) { return std::string(in.text(in.u64())); }

// One scalar; ok() tells whether the bytes were there, false when the type is no scalar.
bool read_scalar(ByteReader& in, GgufType type, GgufValue& value) {
  switch (type) {
    case GgufType::u8: value = uint64_t{in.u8()}; return true;
    case GgufType::i8: value = int64_t{in.read<int8_t>()}; return true;
    case GgufType::u16: value = uint64_t{in.u16()}; return true;
    case GgufType::i16: value = int64_t{in.read<int16_t>()}; return true;
    case GgufType::u32: value = uint64_t{in.u32()}; return true;
    case GgufType::i32: value = int64_t{in.read<int32_t>()}; return true;
    case GgufType::u64: value = in.u64(); return true;
    case GgufType::i64: value = in.read<int64_t>(); return true;
    case GgufType::f32: value = static_cast<double>(in.f32()); return true;
    case GgufType::f64: value = in.read<double>(); return true;
    case GgufType::boolean: value = in.u8() != 0; return true;
    case GgufType::string: value = read_text(in); return true;
    case GgufType::array: return false;
  }
  return false;
}

template <class T, class Read>
GgufArray read_items(uint64_t count, ByteReader& in, const Read& read) {
  std::vector<T> items;
  for (uint64_t i = 0; i < count && in.ok(); ++i) items.push_back(read());
  return items;
}

Result<GgufValue> read_array(ByteReader& in, const std::string& key) {
  const auto type = static_cast<GgufType>(in.u32());
  const uint64_t count = in.u64();
  if (!in.ok() || count > kMaxArray || count > in.remaining()) {
    return corrupt("array " + key + " is longer than the file");
  }
  switch (type) {
    case GgufType::u8: {
      const auto bytes = in.take(count);
      const auto* from = reinterpret_cast<const uint8_t*>(bytes.data());
      return GgufValue(GgufArray(std::vector<uint8_t>(from, from + bytes.size())));
    }
    case GgufType::i32:
      return GgufValue(read_items<int64_t>(count, in, [&] { return in.read<int32_t>(); }));
    case GgufType::u32:
      return GgufValue(read_items<int64_t>(count, in, [&] { return int64_t{in.u32()}; }));
    case GgufType::f32:
      return GgufValue(read_items<double>(count, in, [&] { return double{in.f32()}; }));
    case GgufType::string:
      return GgufValue(read_items<std::string>(count, in, [&] { return read_text(in); }));
    default:
      return corrupt("array " + key + " has elements of type " +
                     std::to_string(static_cast<uint32_t>(type)) +
                     "; accepted are u8, i32, u32, f32, string");
  }
}

Result<void> read_metadata(ByteReader& in, uint64_t count, GgufFile& file) {
  for (uint64_t i = 0; i < count; ++i) {
    std::string key = read_text(in);
    const auto type = static_cast<GgufType>(in.u32());
    if (!in.ok()) return corrupt("metadata ends inside entry " + std::to_string(i));
    if (!is_name(key)) return corrupt("the key of metadata entry " + std::to_string(i) + kBadName);
    GgufValue value;
    if (type == GgufType::array) {
      auto array = read_array(in, key);
      if (!array) return array.error();
      value = std::move(*array);
    } else if (!read_scalar(in, type, value)) {
      return corrupt("key " + key + " has the unknown type " +
                     std::to_string(static_cast<uint32_t>(type)));
    }
    if (!in.ok()) return corrupt("metadata ends inside key " + key);
    const auto* text = std::get_if<std::string>(&value);
    if (text != nullptr && !utf8_is_valid(*text)) return corrupt("key " + key + " is not UTF-8");
    if (!file.metadata.emplace(key, std::move(value)).second)
      return corrupt("key " + key + " stands twice");
  }
  return {};
}

// Bytes of a tensor, or an error when its shape overflows or does not fit its type's blocks.
Result<uint64_t> tensor_bytes(const GgufTensor& tensor) {
  const BlockShape block = block_shape(tensor.type);
  if (block.elements == 0) {
    return corrupt("tensor " + tensor.name + " has type " + to_string(tensor.type) +
                   "; accepted are F32, F16, BF16, Q8_0, I8, I32, TQ2_0");
  }
  uint64_t elements = 1;
  for (const uint64_t dim : tensor.dims) {
    if (dim == 0 || elements > std::numeric_limits<uint64_t>::max() / 128 / dim) {
      return corrupt("tensor " + tensor.name + " has an impossible shape");
    }
    elements *= dim;
  }
  if (tensor.dims[0] % block.elements != 0) {
    return corrupt("tensor " + tensor.name + " has rows that are no whole blocks");
  }
  return elements / block.elements * block.bytes;
}

struct Place {
  uint64_t offset;
  GgufTensor tensor;
};

Result<std::vector<Place>> read_tensor_infos(ByteReader& in, uint64_t count) {
  std::vector<Place> places;
  for (uint64_t i = 0; i < count; ++i) {
    GgufTensor tensor;
    tensor.name = read_text(in);
    const uint32_t n_dims = in.u32();
    if (!in.ok() || n_dims == 0 || n_dims > kMaxDims) {
      return corrupt("tensor " + std::to_string(i) + " has a malformed description");
    }
    if (!is_name(tensor.name)) return corrupt("the name of tensor " + std::to_string(i) + kBadName);
    for (uint32_t d = 0; d < n_dims; ++d) tensor.dims.push_back(in.u64());
    tensor.type = static_cast<TensorType>(in.u32());
    const uint64_t offset = in.u64();
    if (!in.ok())
      return corrupt("the file ends inside the description of tensor " + std::to_string(i));
    places.push_back({offset, std::move(tensor)});
  }
  return places;
}

using Extent = std::pair<uint64_t, uint64_t>;  // offset, bytes; the end is inside the file

// Shared bytes would let a small file stand for a model of any size.
bool overlap(std::vector<Extent> extents) {
  std::sort(extents.begin(), extents.end());
  for (size_t i = 1; i < extents.size(); ++i) {
    if (extents[i - 1].first + extents[i - 1].second > extents[i].first) return true;
  }
  return false;
}

Result<uint64_t> alignment_of(const GgufFile& file) {
  if (!file.metadata.contains("general.alignment")) return kDefaultAlignment;
  auto alignment = file.unsigned_number("general.alignment", 1 << 16);
  if (!alignment) return alignment.error();
  if (*alignment == 0 || (*alignment & (*alignment - 1)) != 0)
    return corrupt("general.alignment is no power of two");
  return *alignment;
}

}  // namespace

BlockShape block_shape(TensorType type) {
  switch (type) {
    case TensorType::f32: return {1, 4};
    case TensorType::f16: return {1, 2};
    case TensorType::bf16: return {1, 2};
    case TensorType::i8: return {1, 1};
    case TensorType::i32: return {1, 4};
    case TensorType::q8_0: return {32, 34};
    case TensorType::tq2_0: return {256, 66};
  }
  return {0, 0};
}

std::string to_string(TensorType type) {
  switch (type) {
    case TensorType::f32: return "F32";
    case TensorType::f16: return "F16";
    case TensorType::bf16: return "BF16";
    case TensorType::i8: return "I8";
    case TensorType::i32: return "I32";
    case TensorType::q8_0: return "Q8_0";
    case TensorType::tq2_0: return "TQ2_0";
  }
  return std::to_string(static_cast<uint32_t>(type));
}

uint64_t GgufTensor::elements() const {
  uint64_t product = 1;
  for (const uint64_t dim : dims) product *= dim;
  return product;
}

Result<std::string> GgufFile::text(std::string_view key) const {
  const auto found = metadata.find(key);
  const auto* value = found == metadata.end() ? nullptr : std::get_if<std::string>(&found->second);
  if (value == nullptr) return corrupt("key " + std::string(key) + " is missing or no string");
  return *value;
}

Result<uint64_t> GgufFile::unsigned_number(std::string_view key, uint64_t max) const {
  const auto found = metadata.find(key);
  uint64_t number = 0;
  bool ok = found != metadata.end();
  if (ok) {
    if (const auto* u = std::get_if<uint64_t>(&found->second)) number = *u;
    else if (const auto* i = std::get_if<int64_t>(&found->second); i != nullptr && *i >= 0)
      number = static_cast<uint64_t>(*i);
    else ok = false;
  }
  if (!ok || number > max) {
    return corrupt("key " + std::string(key) + " is missing or no integer from 0 to " +
                   std::to_string(max));
  }
  return number;
}

Result<double> GgufFile::number(std::string_view key) const {
  const auto found = metadata.find(key);
  const auto* value = found == metadata.end() ? nullptr : std::get_if<double>(&found->second);
  if (value == nullptr || !std::isfinite(*value)) {
    return corrupt("key " + std::string(key) + " is missing or no finite number");
  }
  return *value;
}

Result<bool> GgufFile::boolean(std::string_view key) const {
  const auto found = metadata.find(key);
  const auto* value = found == metadata.end() ? nullptr : std::get_if<bool>(&found->second);
  if (value == nullptr) return corrupt("key " + std::string(key) + " is missing or no boolean");
  return *value;
}

Result<GgufFile> read_gguf(std::span<const std::byte> bytes) {
  ByteReader in(bytes);
  const uint32_t magic = in.u32();
  const uint32_t version = in.u32();
  const uint64_t n_tensors = in.u64();
  const uint64_t n_metadata = in.u64();
  if (!in.ok() || magic != kMagic) return corrupt("not a GGUF file");
  if (version != kVersion)
    return corrupt("GGUF version " + std::to_string(version) + "; accepted is 3");
  if (n_tensors > kMaxEntries || n_metadata > kMaxEntries) return corrupt("too many entries");
  GgufFile file;
  if (auto done = read_metadata(in, n_metadata, file); !done) return done.error();
  auto places = read_tensor_infos(in, n_tensors);
  if (!places) return places.error();
  const auto alignment = alignment_of(file);
  if (!alignment) return alignment.error();
  if (n_tensors > 0) in.align(*alignment);
  if (!in.ok()) return corrupt("the file ends before its tensors");
  const auto data = bytes.subspan(in.position());
  std::vector<Extent> extents;
  for (Place& place : *places) {
    const auto size = tensor_bytes(place.tensor);
    if (!size) return size.error();
    if (place.offset % *alignment != 0)
      return corrupt("tensor " + place.tensor.name + " is not aligned");
    if (place.offset > data.size() || *size > data.size() - place.offset) {
      return corrupt("tensor " + place.tensor.name + " lies outside the file");
    }
    place.tensor.bytes = data.subspan(place.offset, *size);
    extents.emplace_back(place.offset, *size);
    std::string name = place.tensor.name;
    if (!file.tensors.emplace(name, std::move(place.tensor)).second)
      return corrupt("tensor " + name + " stands twice");
  }
  if (overlap(std::move(extents))) return corrupt("two tensors share bytes");
  return file;
}

}  // namespace tristill
