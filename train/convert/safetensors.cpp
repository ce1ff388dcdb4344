#include "train/convert/safetensors.h"

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "base/byte_reader.h"
#include "base/json_depth.h"

namespace tristill::convert {
namespace {

using nlohmann::json;

constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the format's own limit
constexpr int kHeaderDepth = 4;
constexpr std::string_view kMetadata = "__metadata__";

Error corrupt(std::string what) {
  return {ErrorCode::corrupt, "safetensors: " + std::move(what), "init_from_weights"};
}

std::optional<FloatType> type_named(const std::string& name) {
  if (name == "F32") return FloatType::f32;
  if (name == "F16") return FloatType::f16;
  if (name == "BF16") return FloatType::bf16;
  return std::nullopt;
}

// A whole number that is not negative; nothing otherwise.
std::optional<uint64_t> whole(const json& value) {
  if (!value.is_number_unsigned()) return std::nullopt;
  return value.get<uint64_t>();
}

Result<FloatTensor> read_tensor(const std::string& name, const json& entry,
                                std::span<const std::byte> data) {
  if (!entry.is_object() || !entry.contains("dtype") || !entry["dtype"].is_string() ||
      !entry.contains("shape") || !entry["shape"].is_array() || !entry.contains("data_offsets") ||
      !entry["data_offsets"].is_array() || entry["data_offsets"].size() != 2) {
    return corrupt("tensor " + name + " has no dtype, shape and two data_offsets");
  }
  const auto type = type_named(entry["dtype"].get<std::string>());
  if (!type) {
    return Error{ErrorCode::invalid_argument,
                 "safetensors: tensor " + name + " is " + entry["dtype"].get<std::string>() +
                     "; accepted are F32, F16 and BF16: convert the model to one of them",
                 "init_from_weights"};
  }
  FloatTensor tensor;
  tensor.type = *type;
  for (const json& dim : entry["shape"]) {
    const auto size = whole(dim);
    if (!size) return corrupt("the shape of tensor " + name + " is not of whole numbers");
    tensor.dims.push_back(*size);
  }
  const auto begin = whole(entry["data_offsets"][0]);
  const auto end = whole(entry["data_offsets"][1]);
  if (!begin || !end || *begin > *end || *end > data.size()) {
    return corrupt("tensor " + name + " lies outside of the file");
  }
  if (size_of_shape(tensor.dims, bytes_of(*type)) != *end - *begin) {
    return corrupt("tensor " + name + " has another size than its shape");
  }
  tensor.bytes = data.subspan(*begin, *end - *begin);
  return tensor;
}

}  // namespace

Result<FloatTensors> read_safetensors(std::span<const std::byte> file) {
  ByteReader in(file);
  const uint64_t header_bytes = in.u64();
  if (!in.ok() || header_bytes > kMaxHeaderBytes || header_bytes > in.remaining()) {
    return corrupt("the header does not fit into the file");
  }
  const std::string_view text = in.text(header_bytes);
  if (nests_deeper_than(kHeaderDepth, text)) return corrupt("the header nests too deep");
  const json header = json::parse(text, nullptr, false);
  if (!header.is_object()) return corrupt("the header is no JSON object");
  const auto data = file.subspan(in.position());
  FloatTensors tensors;
  for (const auto& [name, entry] : header.items()) {
    if (name == kMetadata) continue;
    auto tensor = read_tensor(name, entry, data);
    if (!tensor) return tensor.error();
    tensors.emplace(name, std::move(*tensor));
  }
  return tensors;
}

}  // namespace tristill::convert
