// Weights of other formats, under our names and in our order.
#include "train/convert/full_weights.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>

#include "model/format/gguf_writer.h"
#include "tests/support/temporary_folder.h"
#include "train/convert/safetensors.h"
#include "train/convert/tensor_names.h"

namespace tristill::convert {
namespace {

namespace fs = std::filesystem;

std::string with_length(const std::string& header, const std::string& data) {
  std::string out(8, '\0');
  const uint64_t n = header.size();
  std::memcpy(out.data(), &n, sizeof n);
  return out + header + data;
}

std::string bytes_of(const std::vector<float>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}

std::span<const std::byte> view(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

TEST(Safetensors, NumbersOfEveryTypeAreRead) {
  const std::string data = bytes_of({1.5F, -2.0F}) + std::string("\x00\x3e\x00\xbc", 4) +
                           std::string("\xc0\x3f\x00\xc0\x00\x7f", 6);
  const std::string file =
      with_length(R"({"__metadata__":{"format":"pt"},)"
                  R"("a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                  R"("b":{"dtype":"F16","shape":[1,2],"data_offsets":[8,12]},)"
                  R"("c":{"dtype":"BF16","shape":[3],"data_offsets":[12,18]}})",
                  data);
  const auto tensors = read_safetensors(view(file));
  ASSERT_TRUE(tensors) << tensors.error().message;
  EXPECT_EQ(tensors->at("a").values(), (std::vector<float>{1.5F, -2.0F}));
  EXPECT_EQ(tensors->at("b").values(), (std::vector<float>{1.5F, -1.0F}));
  EXPECT_EQ(tensors->at("b").dims, (std::vector<uint64_t>{1, 2}));
  EXPECT_EQ(tensors->at("c").values(), (std::vector<float>{1.5F, -2.0F, 0x1p127F}));
}

TEST(Safetensors, SmallAndSpecialHalvesAreExact) {
  const FloatTensor tensor{FloatType::f16, {5}, {}};
  const std::string bytes("\x01\x00\xff\x03\x00\x7c\x00\x80\xff\x7b", 10);
  FloatTensor halves = tensor;
  halves.bytes = view(bytes);
  const auto values = halves.values();
  EXPECT_EQ(values[0], 0x1p-24F);
  EXPECT_EQ(values[1], 1023 * 0x1p-24F);
  EXPECT_EQ(values[2], HUGE_VALF);
  EXPECT_TRUE(std::signbit(values[3]) && values[3] == 0);
  EXPECT_EQ(values[4], 65504.0F);
}

TEST(Safetensors, HostileFilesAreRefused) {
  const auto entry = [](const std::string& fields) { return R"({"a":{)" + fields + "}}"; };
  const std::string data(8, 'x');
  for (const std::string& file :
       {std::string(), std::string(7, '\0'), std::string(8, '\xff'), with_length("[]", data),
        with_length("{", data), with_length(std::string(100000, '['), data),
        with_length(entry(R"("dtype":"F32","shape":[2])"), data),
        with_length(entry(R"("dtype":"F32","shape":[2],"data_offsets":[0,4])"), data),
        with_length(entry(R"("dtype":"F32","shape":[3],"data_offsets":[0,12])"), data),
        with_length(entry(R"("dtype":"F32","shape":[2],"data_offsets":[8,0])"), data),
        with_length(entry(R"("dtype":"F32","shape":[-2],"data_offsets":[0,8])"), data),
        with_length(entry(R"("dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8])"),
                    data),
        with_length(entry(R"("dtype":"I64","shape":[1],"data_offsets":[0,8])"), data)}) {
    EXPECT_FALSE(read_safetensors(view(file)));
  }
}

TEST(TensorNames, TheLlamaFamilysAreKnown) {
  EXPECT_EQ(our_name("model.embed_tokens.weight"), "token_embd.weight");
  EXPECT_EQ(our_name("model.layers.17.self_attn.o_proj.weight"), "blk.17.attn_output.weight");
  EXPECT_EQ(our_name("model.layers.0.mlp.ffn_sub_norm.weight"), "blk.0.ffn_sub_norm.weight");
  EXPECT_EQ(our_name("module._orig_mod.model.norm.weight"), "output_norm.weight");
  EXPECT_EQ(our_name("layers.3.self_attn.k_norm.weight"), "blk.3.attn_k_norm.weight");
  for (const char* unknown : {"model.layers.0.self_attn.q_proj.bias", "model.layers.x.mlp.up_proj",
                              "model.layers..mlp.up_proj.weight", "transformer.wte.weight", ""}) {
    EXPECT_FALSE(our_name(unknown)) << unknown;
  }
}

constexpr ModelConfig kConfig = {.n_layers = 1,
                                 .d_model = 64,
                                 .d_ff = 64,
                                 .n_heads = 2,
                                 .n_kv_heads = 1,
                                 .head_dim = 32,
                                 .vocab_size = 8,
                                 .max_context = 16,
                                 .qk_norm = false};

class FullWeightsTest : public ::testing::Test {
 protected:
  // Row r of a matrix is all r: rows can be told apart.
  static std::string rows(uint64_t n, uint64_t width) {
    std::vector<float> values(n * width);
    for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i / width);
    return bytes_of(values);
  }
  fs::path gguf(const std::string& architecture, bool bias = false,
                const std::vector<float>& rope_factors = {}) {
    GgufWriter out;
    out.add_text("general.architecture", architecture);
    for (const ExpectedTensor& t : expected_tensors(kConfig)) {
      if (t.name.find("sub_norm") != std::string::npos) continue;
      const uint64_t width = t.dims.back();
      const uint64_t n = t.dims.size() == 2 ? t.dims[0] : 1;
      out.add_tensor(t.name, TensorType::f32, {t.dims.rbegin(), t.dims.rend()}, rows(n, width));
    }
    if (bias) out.add_tensor("blk.0.attn_q.bias", TensorType::f32, {64}, rows(1, 64));
    if (!rope_factors.empty()) {
      out.add_tensor("rope_freqs.weight", TensorType::f32, {rope_factors.size()},
                     bytes_of(rope_factors));
    }
    const fs::path path = folder_.path() / "w.gguf";
    std::ofstream(path, std::ios::binary) << out.finish();
    return path;
  }
  tests::TemporaryFolder folder_;
};

TEST_F(FullWeightsTest, AConfigSaysWhatIsMissing) {
  const auto weights = FullWeights::open(gguf("qwen3"));
  ASSERT_TRUE(weights) << weights.error().message;
  const auto missing = weights->missing(kConfig);
  ASSERT_TRUE(missing);
  EXPECT_EQ(*missing,
            (std::vector<std::string>{"blk.0.attn_sub_norm.weight", "blk.0.ffn_sub_norm.weight"}));
  ModelConfig other = kConfig;
  other.d_ff = 128;
  const auto refused = weights->missing(other);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("ffn_gate.weight is [64, 64] in the file and [128, 64]"),
            std::string::npos)
      << refused.error().message;
}

TEST_F(FullWeightsTest, LlamasInterleavedRowsAreTurnedBack) {
  const auto plain = FullWeights::open(gguf("qwen3"));
  ASSERT_TRUE(plain);
  EXPECT_EQ(plain->values("blk.0.attn_q.weight", kConfig)[64], 1);
  const auto llama = FullWeights::open(gguf("llama"));
  ASSERT_TRUE(llama);
  const auto q = llama->values("blk.0.attn_q.weight", kConfig);
  // Half-split row i of a head is row 2 i, then 2 (i - 16) + 1, of the interleaved one.
  EXPECT_EQ(q[0 * 64], 0);
  EXPECT_EQ(q[1 * 64], 2);
  EXPECT_EQ(q[16 * 64], 1);
  EXPECT_EQ(q[31 * 64], 31);
  EXPECT_EQ(q[(32 + 1) * 64], 34);
  EXPECT_EQ(llama->values("blk.0.attn_v.weight", kConfig)[64], 1);
}

TEST_F(FullWeightsTest, WhatNoModelOfOursHasIsRefusedByName) {
  const auto biased = FullWeights::open(gguf("llama", true));
  ASSERT_FALSE(biased);
  EXPECT_NE(biased.error().message.find("blk.0.attn_q.bias"), std::string::npos);
  EXPECT_FALSE(FullWeights::open(folder_.path()));  // no safetensors in it
  EXPECT_FALSE(FullWeights::open(folder_.path() / "nothing"));
}

TEST_F(FullWeightsTest, ScaledRopeIsRefusedAndFactorsOfOneAreNone) {
  EXPECT_TRUE(FullWeights::open(gguf("llama", false, std::vector<float>(16, 1.0F))));
  std::vector<float> factors(16, 1.0F);
  factors.back() = 8;  // as Llama 3.1 has them
  const auto refused = FullWeights::open(gguf("llama", false, factors));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::invalid_argument);
  EXPECT_NE(refused.error().message.find("rope_freqs.weight"), std::string::npos);
}

TEST_F(FullWeightsTest, AFolderOfShardsIsOneModel) {
  const auto shard = [&](const char* name, const std::string& theirs, uint64_t n) {
    const std::string header = R"({")" + theirs + R"(":{"dtype":"F32","shape":[)" +
                               std::to_string(n) + R"(,64],"data_offsets":[0,)" +
                               std::to_string(n * 256) + "]}}";
    std::ofstream(folder_.path() / name, std::ios::binary) << with_length(header, rows(n, 64));
  };
  shard("model-00001-of-00002.safetensors", "model.embed_tokens.weight", 8);
  shard("model-00002-of-00002.safetensors", "model.layers.0.self_attn.q_proj.weight", 64);
  const auto weights = FullWeights::open(folder_.path());
  ASSERT_TRUE(weights) << weights.error().message;
  EXPECT_TRUE(weights->has("token_embd.weight") && weights->has("blk.0.attn_q.weight"));
  EXPECT_EQ(weights->values("blk.0.attn_q.weight", kConfig)[64], 1);
  shard("more.safetensors", "model.layers.0.self_attn.q_proj.bias", 1);
  EXPECT_FALSE(FullWeights::open(folder_.path()));
}

}  // namespace
}  // namespace tristill::convert
