#include "train/convert/full_weights.h"

#include <algorithm>
#include <system_error>

#include "base/check.h"
#include "model/format/gguf.h"
#include "train/convert/safetensors.h"
#include "train/convert/tensor_names.h"
#include "train/convert/torch_checkpoint.h"
#include "train/convert/zip_archive.h"

namespace tristill::convert {
namespace {

namespace fs = std::filesystem;
constexpr const char* kParam = "init_from_weights";

Error refused(std::string message) {
  return {ErrorCode::invalid_argument, std::move(message), kParam};
}

// Hugging Face's older form of weights; other files of torch beside them are no models.
bool is_torch_shard(const fs::path& path) {
  return path.extension() == ".bin" && path.filename().string().starts_with("pytorch_model");
}

std::vector<fs::path> files_in(const fs::path& folder, bool (*wanted)(const fs::path&)) {
  std::error_code error;
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    if (wanted(entry.path())) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

// The files of a folder, or the one file.
Result<std::vector<fs::path>> files_at(const fs::path& path) {
  std::error_code error;
  if (!fs::is_directory(path, error)) return std::vector<fs::path>{path};
  auto files = files_in(path, [](const fs::path& p) { return p.extension() == ".safetensors"; });
  if (files.empty()) files = files_in(path, is_torch_shard);
  if (files.empty()) {
    return Error{ErrorCode::not_found,
                 path.filename().string() + " holds no .safetensors file and no pytorch_model*.bin",
                 kParam};
  }
  return files;
}

std::string text_of(const std::vector<uint64_t>& dims) {
  std::string out = "[";
  for (size_t i = 0; i < dims.size(); ++i) {
    out += (i > 0 ? ", " : "") + std::to_string(dims[i]);
  }
  return out + "]";
}

// Kept by some files beside the weights: what RoPE multiplies by, which we compute ourselves.
bool is_derived(std::string_view name) { return name.ends_with("rotary_emb.inv_freq"); }

// GGUF's factors of RoPE's frequencies, as Llama 3.1 has them. Ours are 1.
constexpr std::string_view kRopeFactors = "rope_freqs.weight";

bool is_one(float factor) { return factor == 1; }

// Under our names.
Result<FloatTensors> renamed(Result<FloatTensors> theirs) {
  if (!theirs) return theirs;
  FloatTensors ours;
  for (auto& [name, tensor] : *theirs) {
    if (is_derived(name)) continue;
    const auto known = our_name(name);
    if (!known) {
      return refused("tensor " + name +
                     " is none of the Llama family's; accepted are models without biases, experts "
                     "and adapters");
    }
    ours.emplace(*known, std::move(tensor));
  }
  return ours;
}

Result<FloatType> float_type(const GgufTensor& tensor) {
  switch (tensor.type) {
    case TensorType::f32: return FloatType::f32;
    case TensorType::f16: return FloatType::f16;
    case TensorType::bf16: return FloatType::bf16;
    default:
      return refused("tensor " + tensor.name + " is " + to_string(tensor.type) +
                     "; accepted are F32, F16 and BF16: a conversion starts from full precision");
  }
}

Result<FloatTensors> take_gguf(std::span<const std::byte> bytes, bool& interleaved_rope) {
  auto file = read_gguf(bytes);
  if (!file) return Error{file.error().code, file.error().message, kParam};
  const auto architecture = file->text("general.architecture");
  if (!architecture) return architecture.error();
  interleaved_rope = *architecture == "llama";
  FloatTensors ours;
  for (const auto& [name, tensor] : file->tensors) {
    if (is_derived(name)) continue;
    if (name.ends_with(".bias")) {
      return refused("tensor " + name + " is a bias; accepted are models without biases");
    }
    const auto type = float_type(tensor);
    if (!type) return type.error();
    if (name == kRopeFactors) {
      const FloatTensor factors{*type, {tensor.elements()}, tensor.bytes};
      if (std::ranges::all_of(factors.values(), is_one)) continue;
      return refused("tensor " + name +
                     " scales RoPE's frequencies, which our models do not; accepted are models "
                     "without such scaling");
    }
    ours.emplace(name,
                 FloatTensor{*type, {tensor.dims.rbegin(), tensor.dims.rend()}, tensor.bytes});
  }
  return ours;
}

Result<FloatTensors> take(const std::string& extension, std::span<const std::byte> bytes,
                          bool& interleaved_rope) {
  if (extension == ".gguf") return take_gguf(bytes, interleaved_rope);
  const bool is_torchs =
      is_zip(bytes) || extension == ".pt" || extension == ".pth" || extension == ".bin";
  return renamed(is_torchs ? read_torch_checkpoint(bytes) : read_safetensors(bytes));
}

// llama.cpp's converter turns rows (half, pair) of each head into (pair, half); back again.
std::vector<float> undo_permutation(const std::vector<float>& rows, uint64_t head_dim,
                                    uint64_t width) {
  std::vector<float> out(rows.size());
  const uint64_t half = head_dim / 2;
  const uint64_t n_heads = rows.size() / (head_dim * width);
  for (uint64_t head = 0; head < n_heads; ++head) {
    for (uint64_t i = 0; i < head_dim; ++i) {
      const uint64_t from = head * head_dim + (i % half) * 2 + i / half;
      const uint64_t to = head * head_dim + i;
      std::copy_n(rows.begin() + static_cast<ptrdiff_t>(from * width), width,
                  out.begin() + static_cast<ptrdiff_t>(to * width));
    }
  }
  return out;
}

}  // namespace

Result<FullWeights> FullWeights::open(const fs::path& path) {
  const auto files = files_at(path);
  if (!files) return files.error();
  FullWeights weights;
  for (const fs::path& file : *files) {
    auto mapped = MappedFile::open(file);
    if (!mapped) return Error{mapped.error().code, mapped.error().message, kParam};
    weights.files_.push_back(std::move(*mapped));
    const auto bytes = weights.files_.back().bytes();
    auto tensors = take(file.extension().string(), bytes, weights.interleaved_rope_);
    if (!tensors) {
      return Error{tensors.error().code, file.filename().string() + ": " + tensors.error().message,
                   kParam};
    }
    weights.tensors_.merge(*tensors);
  }
  return weights;
}

Result<std::vector<std::string>> FullWeights::missing(const ModelConfig& config) const {
  std::vector<std::string> names;
  for (const ExpectedTensor& wanted : expected_tensors(config)) {
    const auto found = tensors_.find(wanted.name);
    if (found == tensors_.end()) {
      names.push_back(wanted.name);
    } else if (found->second.dims != wanted.dims) {
      return refused("tensor " + wanted.name + " is " + text_of(found->second.dims) +
                     " in the file and " + text_of(wanted.dims) +
                     " in the model; make model say what the file has");
    }
  }
  return names;
}

bool FullWeights::is_ternary(const std::string& name) const {
  const auto found = tensors_.find(name);
  CHECK(found != tensors_.end());
  return found->second.type == FloatType::i2s;
}

std::vector<float> FullWeights::values(const std::string& name, const ModelConfig& config) const {
  const auto found = tensors_.find(name);
  CHECK(found != tensors_.end());
  const FloatTensor& tensor = found->second;
  const bool rotated = name.ends_with("attn_q.weight") || name.ends_with("attn_k.weight");
  if (!interleaved_rope_ || !rotated) return tensor.values();
  return undo_permutation(tensor.values(), config.head_dim, tensor.dims.back());
}

}  // namespace tristill::convert
