#include "model/format/model_file.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/atomic_file.h"
#include "base/check.h"
#include "base/utf8.h"
#include "model/format/gguf.h"
#include "model/format/gguf_writer.h"
#include "model/ternary.h"

namespace tristill {
namespace {

constexpr std::string_view kArchitecture = "tristill";
constexpr std::string_view kProvenance = "tristill.provenance.";
constexpr std::string_view kSentencePiece = "tristill.tokenizer.sentencepiece";
constexpr std::string_view kChatTemplate = "tokenizer.chat_template";
constexpr uint16_t kHalfOne = 0x3C00;  // 1.0 in fp16: gamma stands apart, in fp32

Error corrupt(std::string message) {
  return {ErrorCode::corrupt, "model file: " + std::move(message), "model"};
}

// Text from a file in a message: not longer than a line.
std::string shown(const std::string& text) {
  constexpr size_t kMost = 64;
  if (text.size() <= kMost) return text;
  return text.substr(0, utf8_whole_prefix(std::string_view(text).substr(0, kMost))) + "...";
}

std::string float_bytes(const std::vector<float>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}

bool all_finite(const std::vector<float>& values) {
  return std::all_of(values.begin(), values.end(),
                     [](float value) { return std::isfinite(value); });
}

// The embedding's rows may be padded for alignment, no more.
Result<void> check_vocabulary(size_t pieces, uint32_t rows) {
  if (rows >= pieces && rows <= (pieces + 63) / 64 * 64) return {};
  return corrupt("the tokenizer has " + std::to_string(pieces) + " pieces, the embedding " +
                 std::to_string(rows) +
                 " rows; accepted is the same number, or rows rounded up to a multiple of 64");
}

std::string layer_name(size_t layer, std::string_view name) {
  return "blk." + std::to_string(layer) + "." + std::string(name);
}

struct NamedVector {
  const char* name;
  std::vector<float> LayerTensors::* member;
  uint64_t size;
  bool present;
};

std::vector<NamedVector> vectors_of(const ModelConfig& c) {
  return {{"attn_norm.weight", &LayerTensors::attn_norm, c.d_model, true},
          {"attn_q_norm.weight", &LayerTensors::q_norm, c.head_dim, c.qk_norm},
          {"attn_k_norm.weight", &LayerTensors::k_norm, c.head_dim, c.qk_norm},
          {"attn_sub_norm.weight", &LayerTensors::attn_sub_norm, c.q_dim(), c.sub_norm},
          {"ffn_norm.weight", &LayerTensors::ffn_norm, c.d_model, true},
          {"ffn_sub_norm.weight", &LayerTensors::ffn_sub_norm, c.d_ff, c.sub_norm}};
}

struct NamedMatrix {
  const char* name;
  IntegerMatrix LayerTensors::* member;
  uint64_t rows, cols;
  WeightKind kind;
};

std::vector<NamedMatrix> matrices_of(const ModelConfig& c) {
  const WeightKind attention = c.attention_weights();
  const WeightKind mlp = c.mlp_weights();
  return {{"attn_q", &LayerTensors::q, c.q_dim(), c.d_model, attention},
          {"attn_k", &LayerTensors::k, c.kv_dim(), c.d_model, attention},
          {"attn_v", &LayerTensors::v, c.kv_dim(), c.d_model, attention},
          {"attn_output", &LayerTensors::o, c.d_model, c.q_dim(), attention},
          {"ffn_gate", &LayerTensors::gate, c.d_ff, c.d_model, mlp},
          {"ffn_up", &LayerTensors::up, c.d_ff, c.d_model, mlp},
          {"ffn_down", &LayerTensors::down, c.d_model, c.d_ff, mlp}};
}

// ---- writing

std::string ternary_blocks(const IntegerMatrix& matrix) {
  std::vector<uint8_t> packed(matrix.rows * packed_ternary_bytes(matrix.cols));
  pack_ternary(matrix.values.data(), matrix.rows, matrix.cols, packed.data());
  std::string out;
  for (size_t at = 0; at < packed.size(); at += kTernaryBlock / 4) {
    out.append(reinterpret_cast<const char*>(packed.data()) + at, kTernaryBlock / 4);
    out.append(reinterpret_cast<const char*>(&kHalfOne), sizeof kHalfOne);
  }
  return out;
}

Result<void> check_matrix(const std::string& name, const IntegerMatrix& m, uint64_t rows,
                          uint64_t cols, WeightKind kind) {
  const size_t scales = kind == WeightKind::ternary ? 1 : rows;
  if (m.rows == rows && m.cols == cols && m.values.size() == rows * cols &&
      m.scale.size() == scales && (m.bias.empty() || m.bias.size() == rows)) {
    return {};
  }
  return Error{ErrorCode::invalid_argument,
               name + " does not have the shape that the config asks for", name};
}

// What the reader would refuse is not written.
Result<void> check_values(const std::string& name, const IntegerMatrix& m, WeightKind kind) {
  if (!all_finite(m.scale)) {
    return Error{ErrorCode::invalid_argument, name + ".scale holds a value that is not finite",
                 name};
  }
  if (!all_finite(m.bias)) {
    return Error{ErrorCode::invalid_argument, name + ".bias holds a value that is not finite",
                 name};
  }
  const bool ternary = std::all_of(m.values.begin(), m.values.end(),
                                   [](int8_t value) { return value >= -1 && value <= 1; });
  if (kind == WeightKind::ternary && !ternary) {
    return Error{ErrorCode::invalid_argument,
                 name + " holds a value that is not ternary; accepted are -1, 0, 1", name};
  }
  return {};
}

Result<void> add_matrix(GgufWriter& out, const std::string& name, const IntegerMatrix& m,
                        uint64_t rows, uint64_t cols, WeightKind kind) {
  if (auto fits = check_matrix(name, m, rows, cols, kind); !fits) return fits;
  if (auto valid = check_values(name, m, kind); !valid) return valid;
  if (kind == WeightKind::ternary) {
    out.add_tensor(name + ".weight", TensorType::tq2_0,
                   {ternary_blocks_of(cols) * kTernaryBlock, rows}, ternary_blocks(m));
  } else {
    out.add_tensor(name + ".weight", TensorType::i8, {cols, rows},
                   {reinterpret_cast<const char*>(m.values.data()), m.values.size()});
  }
  out.add_tensor(name + ".scale", TensorType::f32, {m.scale.size()}, float_bytes(m.scale));
  if (!m.bias.empty()) {
    out.add_tensor(name + ".bias", TensorType::f32, {m.bias.size()}, float_bytes(m.bias));
  }
  return {};
}

Result<void> add_vector(GgufWriter& out, const std::string& name, const std::vector<float>& values,
                        uint64_t size) {
  if (values.size() != size) {
    return Error{ErrorCode::invalid_argument,
                 name + " has " + std::to_string(values.size()) +
                     " elements; the config asks for " + std::to_string(size),
                 name};
  }
  if (!all_finite(values)) {
    return Error{ErrorCode::invalid_argument, name + " holds a value that is not finite", name};
  }
  out.add_tensor(name, TensorType::f32, {size}, float_bytes(values));
  return {};
}

void add_config(GgufWriter& out, const ModelConfig& c) {
  out.add_u32("tristill.block_count", c.n_layers);
  out.add_u32("tristill.embedding_length", c.d_model);
  out.add_u32("tristill.feed_forward_length", c.d_ff);
  out.add_u32("tristill.attention.head_count", c.n_heads);
  out.add_u32("tristill.attention.head_count_kv", c.n_kv_heads);
  out.add_u32("tristill.attention.key_length", c.head_dim);
  out.add_u32("tristill.context_length", c.max_context);
  out.add_u32("tristill.vocab_size", c.vocab_size);
  if (c.sliding_window > 0) out.add_u32("tristill.attention.sliding_window", c.sliding_window);
  out.add_f32("tristill.rope.freq_base", c.rope_theta);
  out.add_f32("tristill.attention.layer_norm_rms_epsilon", c.norm_eps);
  out.add_f32("tristill.logit_softcap", c.logit_softcap);
  out.add_text("tristill.activation", to_string(c.activation));
  out.add_text("tristill.weights", to_string(c.weights));
  if (c.activation_bits != 8) {
    out.add_u32("tristill.activation_bits", c.activation_bits);
    out.add_u32("tristill.down_activation_bits", c.down_activation_bits);
  }
  if (c.attention_softcap > 0) out.add_f32("tristill.attention_softcap", c.attention_softcap);
  if (!c.ternary_attention) out.add_bool("tristill.ternary_attention", false);
  if (!c.ternary_mlp) out.add_bool("tristill.ternary_mlp", false);
  out.add_bool("tristill.qk_norm", c.qk_norm);
  out.add_bool("tristill.sub_norm", c.sub_norm);
  out.add_bool("tristill.tied_embeddings", c.tied_embeddings);
}

// What llama.cpp reads, beside the SentencePiece model that we read.
void add_tokenizer(GgufWriter& out, const Tokenizer& tokenizer) {
  std::vector<std::string> pieces;
  std::vector<float> scores;
  std::vector<int32_t> types;
  const SpecialTokens& special = tokenizer.special();
  for (size_t i = 0; i < tokenizer.vocab_size(); ++i) {
    const auto id = static_cast<TokenId>(i);
    const std::string_view piece = tokenizer.piece_of(id);
    const bool is_byte = piece.size() == 6 && piece.starts_with("<0x");
    const int32_t type = id == special.unk                ? 2
                         : tokenizer.bytes_of(id).empty() ? 3
                         : is_byte                        ? 6
                                                          : 1;
    pieces.emplace_back(piece);
    scores.push_back(type == 1 ? -static_cast<float>(i) : 0.0F);
    types.push_back(type);
  }
  out.add_text("tokenizer.ggml.model", "llama");
  out.add_texts("tokenizer.ggml.tokens", pieces);
  out.add_floats("tokenizer.ggml.scores", scores);
  out.add_ints("tokenizer.ggml.token_type", types);
  const auto add_id = [&](const char* key, TokenId id) {
    if (id != kNoToken) out.add_u32(key, static_cast<uint32_t>(id));
  };
  add_id("tokenizer.ggml.bos_token_id", special.bos);
  add_id("tokenizer.ggml.eos_token_id", special.eos);
  add_id("tokenizer.ggml.unknown_token_id", special.unk);
  add_id("tokenizer.ggml.fim_pre_token_id", special.fim_prefix);
  add_id("tokenizer.ggml.fim_suf_token_id", special.fim_suffix);
  add_id("tokenizer.ggml.fim_mid_token_id", special.fim_middle);
  out.add_bool("tokenizer.ggml.add_bos_token", false);
  out.add_bool("tokenizer.ggml.add_space_prefix", false);
  out.add_bytes(kSentencePiece, tokenizer.serialized());
}

// ---- reading

Result<const GgufTensor*> tensor_of(const GgufFile& file, const std::string& name, TensorType type,
                                    const std::vector<uint64_t>& dims) {
  const auto found = file.tensors.find(name);
  if (found == file.tensors.end()) return corrupt("tensor " + name + " is missing");
  const GgufTensor& tensor = found->second;
  if (tensor.type != type) {
    return corrupt("tensor " + name + " is " + to_string(tensor.type) + "; accepted is " +
                   to_string(type));
  }
  if (tensor.dims != dims)
    return corrupt("tensor " + name + " does not have the shape of the config");
  return &tensor;
}

Result<std::vector<float>> read_vector(const GgufFile& file, const std::string& name,
                                       uint64_t size) {
  const auto tensor = tensor_of(file, name, TensorType::f32, {size});
  if (!tensor) return tensor.error();
  std::vector<float> values(size);
  std::memcpy(values.data(), (*tensor)->bytes.data(), size * sizeof(float));
  if (!all_finite(values)) return corrupt("tensor " + name + " holds a value that is not finite");
  return values;
}

// The codes of a row beyond its columns, which are zero weights: T + 1 is 1.
bool padding_is_zero(const std::byte* last_block, size_t cols) {
  for (size_t c = cols % kTernaryBlock; c % kTernaryBlock != 0; ++c) {
    const auto byte = static_cast<unsigned>(last_block[c / 128 * 32 + c % 32]);
    if ((byte >> (c % 128 / 32 * 2) & 3U) != 1) return false;
  }
  return true;
}

Result<void> check_ternary(const GgufTensor& tensor, uint64_t cols) {
  constexpr size_t kWords = kTernaryBlock / 4 / sizeof(uint64_t);
  uint64_t bad_codes = 0;
  bool scaled = false;
  for (size_t at = 0; at < tensor.bytes.size(); at += kTernaryBlockBytes) {
    uint64_t words[kWords];
    uint16_t scale = 0;
    std::memcpy(words, tensor.bytes.data() + at, sizeof words);
    std::memcpy(&scale, tensor.bytes.data() + at + sizeof words, sizeof scale);
    for (const uint64_t word : words) bad_codes |= word & word >> 1 & 0x5555555555555555U;
    scaled |= scale != kHalfOne;
  }
  if (scaled) {
    return corrupt("tensor " + tensor.name +
                   " has block scales; accepted is 1.0 with a .scale tensor");
  }
  if (bad_codes != 0) {
    return corrupt("tensor " + tensor.name + " holds codes that are no ternary weight");
  }
  const size_t row_bytes = ternary_blocks_of(cols) * kTernaryBlockBytes;
  for (size_t end = row_bytes; end <= tensor.bytes.size(); end += row_bytes) {
    if (!padding_is_zero(tensor.bytes.data() + end - kTernaryBlockBytes, cols)) {
      return corrupt("tensor " + tensor.name + " holds weights beyond its columns");
    }
  }
  return {};
}

Result<IntegerMatrix> read_matrix(const GgufFile& file, const std::string& name, uint64_t rows,
                                  uint64_t cols, WeightKind kind) {
  const bool ternary = kind == WeightKind::ternary;
  const uint64_t stored_cols = ternary ? ternary_blocks_of(cols) * kTernaryBlock : cols;
  const auto tensor = tensor_of(file, name + ".weight",
                                ternary ? TensorType::tq2_0 : TensorType::i8, {stored_cols, rows});
  if (!tensor) return tensor.error();
  auto scale = read_vector(file, name + ".scale", ternary ? 1 : rows);
  if (!scale) return scale.error();
  IntegerMatrix matrix{.rows = rows, .cols = cols, .scale = std::move(*scale)};
  const auto bytes = (*tensor)->bytes;
  if (!ternary) {
    matrix.stored_rows = {reinterpret_cast<const int8_t*>(bytes.data()), bytes.size()};
    return matrix;
  }
  if (auto valid = check_ternary(**tensor, cols); !valid) return valid.error();
  matrix.stored_blocks = bytes;
  return matrix;
}

// Fields that older files lack.
Result<void> read_newer_fields(const GgufFile& file, ModelConfig& c) {
  struct Integer {
    std::string_view key;
    uint32_t ModelConfig::* member;
  };
  for (const Integer& field :
       {Integer{"tristill.attention.sliding_window", &ModelConfig::sliding_window},
        Integer{"tristill.activation_bits", &ModelConfig::activation_bits},
        Integer{"tristill.down_activation_bits", &ModelConfig::down_activation_bits}}) {
    if (!file.metadata.contains(field.key)) continue;
    const auto value = file.unsigned_number(field.key, UINT32_MAX);
    if (!value) return value.error();
    c.*field.member = static_cast<uint32_t>(*value);
  }
  constexpr std::string_view kAttentionSoftcap = "tristill.attention_softcap";
  if (file.metadata.contains(kAttentionSoftcap)) {
    const auto value = file.number(std::string(kAttentionSoftcap));
    if (!value) return value.error();
    c.attention_softcap = static_cast<float>(*value);
  }
  struct Flag {
    std::string_view key;
    bool ModelConfig::* member;
  };
  for (const Flag& field : {Flag{"tristill.ternary_attention", &ModelConfig::ternary_attention},
                            Flag{"tristill.ternary_mlp", &ModelConfig::ternary_mlp}}) {
    if (!file.metadata.contains(field.key)) continue;
    const auto value = file.boolean(field.key);
    if (!value) return value.error();
    c.*field.member = *value;
  }
  return {};
}

Result<ModelConfig> read_config(const GgufFile& file) {
  ModelConfig c;
  struct Integer {
    const char* key;
    uint32_t ModelConfig::* member;
  };
  for (const Integer& field : {Integer{"block_count", &ModelConfig::n_layers},
                               Integer{"embedding_length", &ModelConfig::d_model},
                               Integer{"feed_forward_length", &ModelConfig::d_ff},
                               Integer{"attention.head_count", &ModelConfig::n_heads},
                               Integer{"attention.head_count_kv", &ModelConfig::n_kv_heads},
                               Integer{"attention.key_length", &ModelConfig::head_dim},
                               Integer{"context_length", &ModelConfig::max_context},
                               Integer{"vocab_size", &ModelConfig::vocab_size}}) {
    const auto value = file.unsigned_number("tristill." + std::string(field.key), UINT32_MAX);
    if (!value) return value.error();
    c.*field.member = static_cast<uint32_t>(*value);
  }
  if (auto read = read_newer_fields(file, c); !read) return read.error();
  struct Real {
    const char* key;
    float ModelConfig::* member;
  };
  for (const Real& field : {Real{"rope.freq_base", &ModelConfig::rope_theta},
                            Real{"attention.layer_norm_rms_epsilon", &ModelConfig::norm_eps},
                            Real{"logit_softcap", &ModelConfig::logit_softcap}}) {
    const auto value = file.number("tristill." + std::string(field.key));
    if (!value) return value.error();
    c.*field.member = static_cast<float>(*value);
  }
  struct Flag {
    const char* key;
    bool ModelConfig::* member;
  };
  for (const Flag& field :
       {Flag{"qk_norm", &ModelConfig::qk_norm}, Flag{"sub_norm", &ModelConfig::sub_norm},
        Flag{"tied_embeddings", &ModelConfig::tied_embeddings}}) {
    const auto value = file.boolean("tristill." + std::string(field.key));
    if (!value) return value.error();
    c.*field.member = *value;
  }
  const auto activation = file.text("tristill.activation");
  const auto weights = file.text("tristill.weights");
  if (!activation) return activation.error();
  if (!weights) return weights.error();
  const auto parsed_activation = parse_activation(shown(*activation));
  const auto parsed_weights = parse_weight_kind(shown(*weights));
  if (!parsed_activation) return corrupt(parsed_activation.error().message);
  if (!parsed_weights) return corrupt(parsed_weights.error().message);
  c.activation = *parsed_activation;
  c.weights = *parsed_weights;
  if (auto ok = check_config(c); !ok) return corrupt(ok.error().message);
  return c;
}

Result<std::shared_ptr<const Tokenizer>> read_tokenizer(const GgufFile& file, uint32_t vocab_size) {
  const auto found = file.metadata.find(kSentencePiece);
  const auto* array =
      found == file.metadata.end() ? nullptr : std::get_if<GgufArray>(&found->second);
  const auto* bytes = array == nullptr ? nullptr : std::get_if<std::vector<uint8_t>>(array);
  if (bytes == nullptr) return corrupt("it carries no SentencePiece tokenizer");
  auto tokenizer =
      Tokenizer::from_sentencepiece({reinterpret_cast<const char*>(bytes->data()), bytes->size()});
  if (!tokenizer) return tokenizer.error();
  if (auto ok = check_vocabulary((*tokenizer)->vocab_size(), vocab_size); !ok) return ok.error();
  return tokenizer;
}

Result<LayerTensors> read_layer(const GgufFile& file, const ModelConfig& c, size_t index) {
  LayerTensors layer;
  for (const NamedVector& vector : vectors_of(c)) {
    if (!vector.present) continue;
    auto values = read_vector(file, layer_name(index, vector.name), vector.size);
    if (!values) return values.error();
    layer.*vector.member = std::move(*values);
  }
  for (const NamedMatrix& named : matrices_of(c)) {
    const std::string name = layer_name(index, named.name);
    auto matrix = read_matrix(file, name, named.rows, named.cols, named.kind);
    if (!matrix) return matrix.error();
    if (file.tensors.contains(name + ".bias")) {
      auto bias = read_vector(file, name + ".bias", named.rows);
      if (!bias) return bias.error();
      matrix->bias = std::move(*bias);
    }
    layer.*named.member = std::move(*matrix);
  }
  return layer;
}

Result<ModelTensors> read_tensors(const GgufFile& file, const ModelConfig& c) {
  ModelTensors model;
  model.config = c;
  auto embedding = read_matrix(file, "token_embd", c.vocab_size, c.d_model, WeightKind::int8);
  if (!embedding) return embedding.error();
  model.embedding = std::move(*embedding);
  if (!c.tied_embeddings) {
    auto head = read_matrix(file, "output", c.vocab_size, c.d_model, WeightKind::int8);
    if (!head) return head.error();
    model.head = std::move(*head);
  }
  auto norm = read_vector(file, "output_norm.weight", c.d_model);
  if (!norm) return norm.error();
  model.output_norm = std::move(*norm);
  for (size_t i = 0; i < c.n_layers; ++i) {
    auto layer = read_layer(file, c, i);
    if (!layer) return layer.error();
    model.layers.push_back(std::move(*layer));
  }
  return model;
}

Provenance read_provenance(const GgufFile& file) {
  Provenance provenance;
  for (const auto& [key, value] : file.metadata) {
    const auto* text = std::get_if<std::string>(&value);
    if (text != nullptr && key.starts_with(kProvenance))
      provenance[key.substr(kProvenance.size())] = *text;
  }
  return provenance;
}

// UTF-8, as every text of the container.
Result<std::string> read_chat_template(const GgufFile& file) {
  const auto found = file.metadata.find(kChatTemplate);
  if (found == file.metadata.end()) return std::string();
  const auto* text = std::get_if<std::string>(&found->second);
  if (text == nullptr || text->size() > kMaxChatTemplateBytes) {
    return corrupt("key tokenizer.chat_template is no string of at most 256 KiB");
  }
  return *text;
}

}  // namespace

std::vector<int8_t> unpacked_values(const IntegerMatrix& matrix) {
  if (!matrix.values.empty()) return matrix.values;
  if (matrix.stored_blocks.empty()) return {matrix.stored_rows.begin(), matrix.stored_rows.end()};
  const size_t blocks = matrix.stored_blocks.size() / kTernaryBlockBytes;
  std::vector<uint8_t> packed(blocks * (kTernaryBlock / 4));
  for (size_t b = 0; b < blocks; ++b) {
    std::memcpy(packed.data() + b * (kTernaryBlock / 4),
                matrix.stored_blocks.data() + b * kTernaryBlockBytes, kTernaryBlock / 4);
  }
  std::vector<int8_t> values(matrix.rows * matrix.cols);
  CHECK(unpack_ternary(packed.data(), matrix.rows, matrix.cols, values.data()));
  return values;
}

Result<void> write_model_file(const std::filesystem::path& path, const ModelTensors& model,
                              const Tokenizer& tokenizer, const Provenance& provenance,
                              std::string_view chat_template) {
  const ModelConfig& c = model.config;
  if (chat_template.size() > kMaxChatTemplateBytes || !utf8_is_valid(chat_template)) {
    return Error{ErrorCode::invalid_argument,
                 "the chat template is larger than 256 KiB or not UTF-8", "chat_template"};
  }
  if (auto ok = check_config(c); !ok) return ok;
  if (auto ok = check_vocabulary(tokenizer.vocab_size(), c.vocab_size); !ok) {
    return Error{ErrorCode::invalid_argument, ok.error().message, "vocab_size"};
  }
  GgufWriter out;
  out.add_text("general.architecture", kArchitecture);
  out.add_text("general.name", path.stem().string());
  add_config(out, c);
  for (const auto& [key, value] : provenance) out.add_text(std::string(kProvenance) + key, value);
  add_tokenizer(out, tokenizer);
  if (!chat_template.empty()) out.add_text(kChatTemplate, chat_template);
  auto done =
      add_matrix(out, "token_embd", model.embedding, c.vocab_size, c.d_model, WeightKind::int8);
  if (done && !c.tied_embeddings) {
    done = add_matrix(out, "output", model.head, c.vocab_size, c.d_model, WeightKind::int8);
  }
  if (done) done = add_vector(out, "output_norm.weight", model.output_norm, c.d_model);
  if (done && model.layers.size() != c.n_layers) {
    done = Error{ErrorCode::invalid_argument, "the number of layers is not n_layers", "n_layers"};
  }
  for (size_t i = 0; done && i < model.layers.size(); ++i) {
    const LayerTensors& layer = model.layers[i];
    for (const NamedVector& vector : vectors_of(c)) {
      if (!done || !vector.present) continue;
      done = add_vector(out, layer_name(i, vector.name), layer.*vector.member, vector.size);
    }
    for (const NamedMatrix& named : matrices_of(c)) {
      if (!done) continue;
      done = add_matrix(out, layer_name(i, named.name), layer.*named.member, named.rows, named.cols,
                        named.kind);
    }
  }
  if (!done) return done;
  return write_file_atomically(path, out.finish());
}

Result<LoadedModelFile> read_model_file(const std::filesystem::path& path) {
  auto opened = MappedFile::open(path);
  if (!opened) return opened.error();
  const auto mapping = std::make_shared<const MappedFile>(std::move(*opened));
  const auto file = read_gguf(mapping->bytes());
  if (!file) return file.error();
  const auto architecture = file->text("general.architecture");
  if (!architecture) return architecture.error();
  if (*architecture != kArchitecture) {
    return Error{ErrorCode::invalid_argument,
                 "model file: architecture \"" + shown(*architecture) + "\"; accepted is tristill",
                 "model"};
  }
  const auto config = read_config(*file);
  if (!config) return config.error();
  auto tokenizer = read_tokenizer(*file, config->vocab_size);
  if (!tokenizer) return tokenizer.error();
  auto chat_template = read_chat_template(*file);
  if (!chat_template) return chat_template.error();
  auto tensors = read_tensors(*file, *config);
  if (!tensors) return tensors.error();
  return LoadedModelFile{std::move(*tensors), std::move(*tokenizer), read_provenance(*file),
                         mapping, std::move(*chat_template)};
}

}  // namespace tristill
