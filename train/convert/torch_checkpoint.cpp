#include "train/convert/torch_checkpoint.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <string>

#include "train/convert/pickle.h"
#include "train/convert/zip_archive.h"

namespace tristill::convert {
namespace {

using Kind = PickleNode::Kind;

constexpr std::string_view kPickle = "data.pkl";
constexpr std::string_view kWeight = ".weight";
constexpr size_t kMostDims = 8;
constexpr std::array<const char*, 3> kEntries = {"model_state_dict", "state_dict", "model"};

Error corrupt(const std::string& what) {
  return {ErrorCode::corrupt, "torch checkpoint: " + what, "init_from_weights"};
}

Error refused(const std::string& what) {
  return {ErrorCode::invalid_argument, "torch checkpoint: " + what, "init_from_weights"};
}

enum class Element { f32, f16, bf16, u8, i32, i64, other };

Element element_named(std::string_view storage) {
  if (storage == "torch.FloatStorage") return Element::f32;
  if (storage == "torch.HalfStorage") return Element::f16;
  if (storage == "torch.BFloat16Storage") return Element::bf16;
  if (storage == "torch.ByteStorage") return Element::u8;
  if (storage == "torch.IntStorage") return Element::i32;
  if (storage == "torch.LongStorage") return Element::i64;
  return Element::other;
}

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

uint64_t bytes_of(Element element) {
  switch (element) {
    case Element::f32:
    case Element::i32: return 4;
    case Element::f16:
    case Element::bf16: return 2;
    case Element::i64: return 8;
    case Element::u8:
    case Element::other: break;
  }
  return 1;
}

// A tensor as it is saved.
struct Saved {
  Element element = Element::other;
  std::string storage;  // what it is called there
  std::vector<uint64_t> dims;
  std::span<const std::byte> bytes;
};

using Tensors = std::map<std::string, Saved, std::less<>>;

class Checkpoint {
 public:
  static Result<Checkpoint> open(std::span<const std::byte> file) {
    auto members = read_zip(file);
    if (!members) return members.error();
    for (const auto& [name, bytes] : *members) {
      const bool is_pickle = name == kPickle || name.ends_with("/" + std::string(kPickle));
      if (!is_pickle) continue;
      auto pickle = Pickle::parse(bytes);
      if (!pickle) return pickle.error();
      std::string folder = name.substr(0, name.size() - kPickle.size());
      const auto order = members->find(folder + "byteorder");
      if (order != members->end() && text_of(order->second) != "little") {
        return refused("of a big-endian machine; save it again on another");
      }
      return Checkpoint(std::move(*pickle), std::move(*members), std::move(folder));
    }
    return refused("no data.pkl in it: torch.save writes one, torch.jit.save's archives are code");
  }

  // Of the state_dict; of two of one name the first.
  Result<Tensors> tensors() const {
    const PickleNode* dict = &pickle_.root();
    for (const char* entry : kEntries) {
      const PickleNode* inner = pickle_.find(pickle_.root(), entry);
      if (inner == nullptr) continue;
      dict = inner;
      break;
    }
    if (dict->kind != Kind::dict && dict->kind != Kind::call) {
      return refused("holds no state_dict; save model.state_dict()");
    }
    Tensors found;
    const auto pairs = Pickle::pairs(*dict);
    for (size_t i = 0; i + 1 < pairs.size(); i += 2) {
      const PickleNode& name = pickle_.at(pairs[i]);
      const PickleNode& value = pickle_.at(pairs[i + 1]);
      if (name.kind != Kind::text) return corrupt("a tensor's name is no text");
      auto tensor = tensor_of(name.text, value);
      if (!tensor) return tensor.error();
      found.emplace(name.text, std::move(*tensor));
    }
    return found;
  }

 private:
  Checkpoint(Pickle pickle, ZipMembers members, std::string folder)
      : pickle_(std::move(pickle)), members_(std::move(members)), folder_(std::move(folder)) {}

  // torch._utils._rebuild_parameter(tensor, ...) holds _rebuild_tensor_v2(storage, offset, shape,
  // strides, ...), and that a storage: ("storage", class, key, device, elements).
  Result<Saved> tensor_of(const std::string& name, const PickleNode& value) const {
    const PickleNode* call = &value;
    if (is_call(*call, "torch._utils._rebuild_parameter")) {
      call = item(arguments(*call), 0);
    }
    if (call == nullptr || !is_call(*call, "torch._utils._rebuild_tensor_v2")) {
      return refused(name +
                     " is no tensor: the file holds no state_dict where one is looked for; "
                     "save model.state_dict()");
    }
    const PickleNode& given = arguments(*call);
    const PickleNode* storage = item(given, 0);
    const PickleNode* offset = item(given, 1);
    const PickleNode* shape = item(given, 2);
    const PickleNode* strides = item(given, 3);
    if (strides == nullptr || storage->kind != Kind::persistent || offset->kind != Kind::integer ||
        offset->integer < 0) {
      return corrupt(name + " is not made of a storage, an offset, a shape and strides");
    }
    const auto dims = sizes_of(*shape);
    const auto steps = sizes_of(*strides);
    if (!dims || !steps || dims->size() != steps->size()) {
      return corrupt(name + " has no shape with a stride each");
    }
    if (!is_contiguous(*dims, *steps)) {
      return refused(name + " is not contiguous; save it after .contiguous()");
    }
    return part_of(name, pickle_.at(storage->items[0]), static_cast<uint64_t>(offset->integer),
                   *dims);
  }

  Result<Saved> part_of(const std::string& name, const PickleNode& storage, uint64_t offset,
                        const std::vector<uint64_t>& dims) const {
    const PickleNode* type = item(storage, 1);
    const PickleNode* key = item(storage, 2);
    if (key == nullptr || type->kind != Kind::name || key->kind != Kind::text) {
      return corrupt(name + " names no storage");
    }
    const auto member = members_.find(folder_ + "data/" + key->text);
    if (member == members_.end()) return corrupt("the storage of " + name + " is missing");
    Saved saved{element_named(type->text), type->text, dims, {}};
    const auto elements = size_of_shape(dims);
    if (!elements) return corrupt(name + " is larger than any file");
    const uint64_t held = member->second.size() / bytes_of(saved.element);
    if (offset > held || *elements > held - offset) {
      return corrupt(name + " lies outside of its storage");
    }
    saved.bytes = member->second.subspan(offset * bytes_of(saved.element),
                                         *elements * bytes_of(saved.element));
    return saved;
  }

  bool is_call(const PickleNode& node, std::string_view callable) const {
    return node.kind == Kind::call && pickle_.at(node.items[0]).text == callable;
  }
  const PickleNode& arguments(const PickleNode& call) const { return pickle_.at(call.items[1]); }
  const PickleNode* item(const PickleNode& node, size_t i) const {
    const bool has = node.kind == Kind::sequence && i < node.items.size();
    return has ? &pickle_.at(node.items[i]) : nullptr;
  }
  std::optional<std::vector<uint64_t>> sizes_of(const PickleNode& node) const {
    if (node.kind != Kind::sequence || node.items.size() > kMostDims) return std::nullopt;
    std::vector<uint64_t> sizes;
    for (const NodeId id : node.items) {
      const PickleNode& size = pickle_.at(id);
      if (size.kind != Kind::integer || size.integer < 0) return std::nullopt;
      sizes.push_back(static_cast<uint64_t>(size.integer));
    }
    return sizes;
  }
  static bool is_contiguous(const std::vector<uint64_t>& dims, const std::vector<uint64_t>& steps) {
    uint64_t step = 1;
    for (size_t i = dims.size(); i-- > 0;) {
      if (dims[i] != 1 && steps[i] != step) return false;
      step *= dims[i];
    }
    return true;
  }

  Pickle pickle_;
  ZipMembers members_;
  std::string folder_;
};

std::optional<FloatType> float_type(Element element) {
  switch (element) {
    case Element::f32: return FloatType::f32;
    case Element::f16: return FloatType::f16;
    case Element::bf16: return FloatType::bf16;
    default: return std::nullopt;
  }
}

std::vector<uint64_t> whole_numbers(const Saved& tensor) {
  std::vector<uint64_t> out;
  const uint64_t size = bytes_of(tensor.element);
  for (uint64_t at = 0; at + size <= tensor.bytes.size(); at += size) {
    uint64_t value = 0;
    std::memcpy(&value, tensor.bytes.data() + at, size);  // little-endian
    out.push_back(value);
  }
  return out;
}

bool is_packed(const std::string& name, const Saved& tensor) {
  return tensor.element == Element::u8 && name.ends_with(kWeight);
}

// Whether a tensor is there to say what a packed one is.
bool is_of_packed(std::string_view name, const Tensors& all) {
  for (const std::string_view ending : {"_shape", "_scale"}) {
    if (!name.ends_with(ending)) continue;
    const std::string module(name.substr(0, name.size() - ending.size()));
    const auto weight = all.find(module + std::string(kWeight));
    return weight != all.end() && is_packed(weight->first, weight->second);
  }
  return false;
}

// NAME.weight of bytes, with what its neighbours say of it.
Result<FloatTensor> unpacked(const std::string& name, const Saved& packed, const Tensors& all) {
  const std::string module = name.substr(0, name.size() - kWeight.size());
  const auto shape = all.find(module + "_shape");
  const auto scale = all.find(module + "_scale");
  if (shape == all.end() || scale == all.end()) {
    return refused(name + " is of bytes without " + module + "_shape and " + module +
                   "_scale: its scale is lost, so its weights are");
  }
  const uint64_t width = bytes_of(shape->second.element);
  const bool whole =
      (shape->second.element == Element::i64 || shape->second.element == Element::i32) &&
      shape->second.bytes.size() <= kMostDims * width;
  const auto type = float_type(scale->second.element);
  if (!whole || !type || scale->second.bytes.size() != bytes_of(*type)) {
    return corrupt(module + " has no shape of a few whole numbers and one scale");
  }
  FloatTensor tensor{FloatType::i2s, whole_numbers(shape->second), packed.bytes};
  tensor.scale = FloatTensor{*type, {1}, scale->second.bytes}.values()[0];
  const auto elements = size_of_shape(tensor.dims);
  if (!elements || *elements == 0 || *elements > packed.bytes.size() * 4) {
    return corrupt(name + " has fewer numbers than its shape");
  }
  if ((*elements + 3) / 4 != packed.bytes.size()) {
    return corrupt(name + " has another size than its shape");
  }
  return tensor;
}

}  // namespace

Result<FloatTensors> read_torch_checkpoint(std::span<const std::byte> file) {
  if (!is_zip(file)) {
    return refused(
        "no ZIP archive: it is cut off, or of torch before 1.6; load it there and save "
        "it again");
  }
  const auto checkpoint = Checkpoint::open(file);
  if (!checkpoint) return checkpoint.error();
  const auto saved = checkpoint->tensors();
  if (!saved) return saved.error();
  FloatTensors tensors;
  for (const auto& [name, tensor] : *saved) {
    if (is_of_packed(name, *saved)) continue;
    if (is_packed(name, tensor)) {
      auto matrix = unpacked(name, tensor, *saved);
      if (!matrix) return matrix.error();
      tensors.emplace(name, std::move(*matrix));
      continue;
    }
    const auto type = float_type(tensor.element);
    if (!type) {
      return refused(name + " is of " + tensor.storage +
                     "; accepted are floats of 2 or 4 bytes: convert the model to one of them");
    }
    tensors.emplace(name, FloatTensor{*type, tensor.dims, tensor.bytes});
  }
  return tensors;
}

}  // namespace tristill::convert
