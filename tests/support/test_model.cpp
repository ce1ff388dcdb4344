#include "tests/support/test_model.h"

#include <cmath>
#include <stdexcept>
#include <string>

#include "base/random.h"

namespace tristill::test {
namespace {

// Weight i of a stream, roughly normal: the sum of four uniforms.
class Numbers {
 public:
  Numbers(uint64_t seed, uint64_t stream) : random_(seed, stream) {}
  float next() {
    double sum = 0;
    for (int i = 0; i < 4; ++i) sum += random_.uniform();
    return static_cast<float>((sum - 2.0) * std::sqrt(3.0));
  }

 private:
  RandomStream random_;
};

IntegerMatrix int8_matrix(size_t rows, size_t cols, uint64_t seed, uint64_t stream, float size) {
  Numbers numbers(seed, stream);
  IntegerMatrix matrix{.rows = rows,
                       .cols = cols,
                       .values = std::vector<int8_t>(rows * cols),
                       .scale = std::vector<float>(rows)};
  for (int8_t& value : matrix.values) {
    value = static_cast<int8_t>(std::fmax(-127.0F, std::fmin(127.0F, numbers.next() * 40.0F)));
  }
  for (float& scale : matrix.scale)
    scale = size / 40.0F * (0.9F + 0.2F * std::fabs(numbers.next()));
  return matrix;
}

IntegerMatrix ternary_matrix(size_t rows, size_t cols, uint64_t seed, uint64_t stream) {
  Numbers numbers(seed, stream);
  IntegerMatrix matrix{.rows = rows, .cols = cols, .values = std::vector<int8_t>(rows * cols)};
  for (int8_t& value : matrix.values) {
    const float w = numbers.next();
    value = static_cast<int8_t>(w > 0.4F ? 1 : w < -0.4F ? -1 : 0);
  }
  matrix.scale = {1.0F / std::sqrt(static_cast<float>(cols))};
  return matrix;
}

std::vector<float> gains(size_t n, uint64_t seed, uint64_t stream, bool present = true) {
  Numbers numbers(seed, stream);
  std::vector<float> values(present ? n : 0);
  for (float& value : values) value = 1.0F + 0.1F * numbers.next();
  return values;
}

// ---- protobuf by hand (sentencepiece_model.proto)

std::string varint(uint64_t value) {
  std::string out;
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  return out + static_cast<char>(value);
}

std::string field(int number, const std::string& bytes) {
  return varint(static_cast<uint64_t>(number) << 3 | 2) + varint(bytes.size()) + bytes;
}

std::string field(int number, uint64_t value) {
  return varint(static_cast<uint64_t>(number) << 3) + varint(value);
}

std::string piece(const std::string& text, float score, uint64_t type) {
  std::string bytes = field(1, text);
  bytes += varint(2 << 3 | 5);
  bytes.append(reinterpret_cast<const char*>(&score), sizeof score);
  return field(1, bytes + field(3, type));
}

std::string tiny_sentencepiece() {
  constexpr uint64_t kNormal = 1, kUnknown = 2, kControl = 3, kByte = 6;
  std::string model = piece("<unk>", 0, kUnknown) + piece("</s>", 0, kControl);
  for (const auto name : {kFimPrefixPiece, kFimSuffixPiece, kFimMiddlePiece, kFileSepPiece}) {
    model += piece(std::string(name), 0, kControl);
  }
  constexpr char kDigits[] = "0123456789ABCDEF";
  for (int byte = 0; byte < 256; ++byte) {
    model += piece(std::string("<0x") + kDigits[byte >> 4] + kDigits[byte & 15] + ">", 0, kByte);
  }
  const std::string space = "\xE2\x96\x81";
  float score = 0;
  const auto add = [&](const std::string& text) { model += piece(text, score -= 1, kNormal); };
  for (const std::string& merged :
       {space + space, space + space + space + space, std::string("de"), std::string("def"),
        "def" + space, std::string("re"), std::string("et"), std::string("urn"), std::string("ur"),
        std::string("ret"), std::string("return"), std::string("in"), std::string("on"),
        std::string("er"), std::string("se"), std::string("self")}) {
    add(merged);
  }
  add(space);
  add("\n");
  for (char c = '!'; c <= '~'; ++c) add(std::string(1, c));
  std::string trainer = field(3, uint64_t{2}) + field(35, uint64_t{1});  // BPE, byte fallback
  trainer += field(40, uint64_t{0}) + field(41, ~uint64_t{0}) + field(42, uint64_t{1}) +
             field(43, ~uint64_t{0});
  std::string normalizer = field(1, std::string("identity"));
  normalizer += field(3, uint64_t{0}) + field(4, uint64_t{0}) + field(5, uint64_t{1});
  return model + field(2, trainer) + field(3, normalizer);
}

}  // namespace

std::shared_ptr<const Tokenizer> tiny_tokenizer() {
  static const auto tokenizer = [] {
    auto made = Tokenizer::from_sentencepiece(tiny_sentencepiece());
    if (!made) throw std::runtime_error(made.error().message);
    return *made;
  }();
  return tokenizer;
}

ModelTensors random_model(const RandomModelOptions& o) {
  ModelTensors model;
  ModelConfig& c = model.config;
  c.n_layers = o.n_layers;
  c.d_model = o.d_model;
  c.d_ff = o.d_ff;
  c.n_heads = o.n_heads;
  c.n_kv_heads = o.n_kv_heads;
  c.head_dim = o.head_dim;
  c.max_context = o.max_context;
  c.vocab_size =
      o.vocab_size != 0 ? o.vocab_size : static_cast<uint32_t>(tiny_tokenizer()->vocab_size());
  c.weights = o.weights;
  c.activation = o.activation;
  c.qk_norm = o.qk_norm;
  c.sub_norm = o.sub_norm;
  c.tied_embeddings = o.tied_embeddings;
  c.logit_softcap = o.logit_softcap;
  uint64_t stream = 0;
  const auto matrix = [&](size_t rows, size_t cols) {
    return o.weights == WeightKind::ternary
               ? ternary_matrix(rows, cols, o.seed, ++stream)
               : int8_matrix(rows, cols, o.seed, ++stream,
                             1.0F / std::sqrt(static_cast<float>(cols)));
  };
  model.embedding = int8_matrix(c.vocab_size, c.d_model, o.seed, ++stream, 0.3F);
  if (!c.tied_embeddings) model.head = int8_matrix(c.vocab_size, c.d_model, o.seed, ++stream, 0.3F);
  model.output_norm = gains(c.d_model, o.seed, ++stream);
  for (uint32_t i = 0; i < c.n_layers; ++i) {
    LayerTensors layer;
    layer.attn_norm = gains(c.d_model, o.seed, ++stream);
    layer.ffn_norm = gains(c.d_model, o.seed, ++stream);
    layer.q_norm = gains(c.head_dim, o.seed, ++stream, c.qk_norm);
    layer.k_norm = gains(c.head_dim, o.seed, ++stream, c.qk_norm);
    layer.attn_sub_norm = gains(c.q_dim(), o.seed, ++stream, c.sub_norm);
    layer.ffn_sub_norm = gains(c.d_ff, o.seed, ++stream, c.sub_norm);
    layer.q = matrix(c.q_dim(), c.d_model);
    layer.k = matrix(c.kv_dim(), c.d_model);
    layer.v = matrix(c.kv_dim(), c.d_model);
    layer.o = matrix(c.d_model, c.q_dim());
    layer.gate = matrix(c.d_ff, c.d_model);
    layer.up = matrix(c.d_ff, c.d_model);
    layer.down = matrix(c.d_model, c.d_ff);
    model.layers.push_back(std::move(layer));
  }
  return model;
}

}  // namespace tristill::test
