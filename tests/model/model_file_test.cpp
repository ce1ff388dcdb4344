#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>

#include "base/atomic_file.h"
#include "model/format/gguf.h"
#include "model/ternary.h"
#include "tests/support/test_model.h"

namespace tristill {
namespace {

namespace fs = std::filesystem;

class ModelFileTest : public ::testing::Test {
 protected:
  ModelFileTest() {
    std::string name = (fs::temp_directory_path() / "tristill-gguf-XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
    path_ = folder_ / "m.gguf";
    small_ = test::random_model({.d_model = 256, .d_ff = 256, .n_layers = 1});
  }
  ~ModelFileTest() override { fs::remove_all(folder_); }

  std::string written(const ModelTensors& model) {
    const auto done = write_model_file(path_, model, *test::tiny_tokenizer(), {{"job", "ftjob-1"}});
    EXPECT_TRUE(done) << (done ? "" : done.error().message);
    return *read_file(path_);
  }
  Result<LoadedModelFile> reread(const std::string& bytes) {
    EXPECT_TRUE(write_file_atomically(path_, bytes));
    return read_model_file(path_);
  }

  fs::path folder_, path_;
  ModelTensors small_;
};

TEST_F(ModelFileTest, AChatTemplateComesBackAndTheRestIsTheSame) {
  const std::string plain = written(small_);
  const auto write = [&](const std::string& chat_template) {
    return write_model_file(path_, small_, *test::tiny_tokenizer(), {{"job", "ftjob-1"}},
                            chat_template);
  };
  EXPECT_EQ(read_model_file(path_)->chat_template, "");
  const std::string own = "{% for m in messages %}{{ m.content }}\n{% endfor %}\xC3\xA9";
  ASSERT_TRUE(write(own));
  EXPECT_EQ(read_model_file(path_)->chat_template, own);
  ASSERT_TRUE(write(""));
  EXPECT_EQ(*read_file(path_), plain);
  EXPECT_EQ(write(std::string(kMaxChatTemplateBytes + 1, 'a')).error().param, "chat_template");
  EXPECT_EQ(write("\xFF").error().param, "chat_template");
}

TEST_F(ModelFileTest, AChatTemplateOfAnotherTypeIsRefused) {
  ASSERT_TRUE(write_model_file(path_, small_, *test::tiny_tokenizer(), {}, "template"));
  std::string bytes = *read_file(path_);
  const std::string key = "tokenizer.chat_template";
  const size_t type = bytes.find(key) + key.size();
  bytes[type] = static_cast<char>(GgufType::u64);  // the length of the text is its value then
  bytes.erase(type + 12, std::string("template").size());
  const auto loaded = reread(bytes);
  ASSERT_FALSE(loaded);
  EXPECT_NE(loaded.error().message.find("chat_template"), std::string::npos)
      << loaded.error().message;
}

void expect_equal(const IntegerMatrix& a, const IntegerMatrix& b) {
  EXPECT_EQ(a.rows, b.rows);
  EXPECT_EQ(unpacked_values(a), unpacked_values(b));
  EXPECT_EQ(a.scale, b.scale);
}

TEST_F(ModelFileTest, ComesBackAsItWasWritten) {
  for (const WeightKind kind : {WeightKind::ternary, WeightKind::int8}) {
    const auto model =
        test::random_model({.weights = kind, .tied_embeddings = false, .logit_softcap = 15});
    written(model);
    const auto loaded = read_model_file(path_);
    ASSERT_TRUE(loaded) << loaded.error().message;
    expect_equal(loaded->tensors.embedding, model.embedding);
    expect_equal(loaded->tensors.head, model.head);
    EXPECT_EQ(loaded->tensors.output_norm, model.output_norm);
    ASSERT_EQ(loaded->tensors.layers.size(), model.layers.size());
    for (size_t i = 0; i < model.layers.size(); ++i) {
      expect_equal(loaded->tensors.layers[i].q, model.layers[i].q);
      expect_equal(loaded->tensors.layers[i].down, model.layers[i].down);
      EXPECT_EQ(loaded->tensors.layers[i].k_norm, model.layers[i].k_norm);
    }
    EXPECT_EQ(loaded->tensors.config.logit_softcap, 15);
    EXPECT_EQ(loaded->tokenizer->fingerprint(), test::tiny_tokenizer()->fingerprint());
    EXPECT_EQ(loaded->provenance.at("job"), "ftjob-1");
  }
}

TEST_F(ModelFileTest, SameModelSameBytes) { EXPECT_EQ(written(small_), written(small_)); }

TEST_F(ModelFileTest, EveryTruncationIsRefused) {
  size_t n = written(small_).size();
  while (n > 0) {
    n -= n > 20000 ? 509 : 1;
    fs::resize_file(path_, n);
    const auto loaded = read_model_file(path_);
    ASSERT_FALSE(loaded) << n;
    ASSERT_EQ(loaded.error().code, ErrorCode::corrupt) << n;
    ASSERT_EQ(loaded.error().param, "model") << n;
  }
}

TEST_F(ModelFileTest, NoByteOfTheHeadCanCrashTheReader) {
  const std::string bytes = written(small_);
  int refused = 0;
  for (size_t at = 0; at < 3000; ++at) {
    for (const char value : {'\0', '\x7f', '\xff'}) {
      std::string damaged = bytes;
      damaged[at] = value;
      const auto file = read_gguf(std::as_bytes(std::span(damaged.data(), damaged.size())));
      refused += file ? 0 : 1;
    }
  }
  EXPECT_GT(refused, 500);
}

TEST_F(ModelFileTest, HugeCountsAreRefusedWithoutAllocating) {
  for (const size_t at : {size_t{8}, size_t{16}}) {
    std::string bytes = written(small_);
    const uint64_t huge = UINT64_MAX / 2;
    std::memcpy(bytes.data() + at, &huge, sizeof huge);
    EXPECT_FALSE(reread(bytes));
  }
}

TEST_F(ModelFileTest, OtherFilesAreNamed) {
  EXPECT_NE(reread("hello").error().message.find("not a GGUF"), std::string::npos);
  EXPECT_EQ(read_model_file(folder_ / "none.gguf").error().code, ErrorCode::not_found);
  std::string bytes = written(small_);
  bytes[4] = 2;
  EXPECT_NE(reread(bytes).error().message.find("version 2"), std::string::npos);
}

TEST_F(ModelFileTest, WrongShapesAreNotWritten) {
  small_.layers[0].q.values.pop_back();
  const auto done = write_model_file(path_, small_, *test::tiny_tokenizer(), {});
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().param, "blk.0.attn_q");
  EXPECT_FALSE(fs::exists(path_));
}

TEST_F(ModelFileTest, AnEmbeddingThatIsNotTheTokenizersIsNeitherWrittenNorRead) {
  const size_t pieces = test::tiny_tokenizer()->vocab_size();
  const auto padded = static_cast<uint32_t>((pieces + 63) / 64 * 64);
  for (const uint32_t rows : {static_cast<uint32_t>(pieces - 1), padded + 1, 2 * padded}) {
    const auto done =
        write_model_file(path_, test::random_model({.n_layers = 1, .vocab_size = rows}),
                         *test::tiny_tokenizer(), {});
    ASSERT_FALSE(done) << rows;
    EXPECT_EQ(done.error().param, "vocab_size");
  }
  std::string bytes = written(test::random_model({.n_layers = 1, .vocab_size = padded}));
  EXPECT_TRUE(reread(bytes));
  const std::string key = "tristill.vocab_size";
  const uint32_t rows = 2 * padded;
  std::memcpy(bytes.data() + bytes.find(key) + key.size() + 4, &rows, sizeof rows);
  const auto loaded = reread(bytes);
  ASSERT_FALSE(loaded);
  EXPECT_NE(loaded.error().message.find(std::to_string(rows)), std::string::npos);
  EXPECT_NE(loaded.error().message.find("multiple of 64"), std::string::npos);
}

TEST_F(ModelFileTest, ValuesThatCouldNotBeReadAreNotWritten) {
  const auto refused = [&](const ModelTensors& model) {
    const auto done = write_model_file(path_, model, *test::tiny_tokenizer(), {});
    EXPECT_FALSE(done);
    EXPECT_FALSE(fs::exists(path_));
    return done ? "" : done.error().param;
  };
  ModelTensors model = small_;
  model.layers[0].up.values[17] = 2;
  EXPECT_EQ(refused(model), "blk.0.ffn_up");
  model = small_;
  model.layers[0].down.scale[0] = NAN;
  EXPECT_EQ(refused(model), "blk.0.ffn_down");
  model = small_;
  model.output_norm[3] = HUGE_VALF;
  EXPECT_EQ(refused(model), "output_norm.weight");
}

TEST_F(ModelFileTest, BiasesComeBackAndThoseOfAnotherLengthOrNotFiniteAreRefused) {
  const std::vector<float> bias(256, 0.25F);
  small_.layers[0].up.bias = bias;
  const std::string good = written(small_);
  const auto loaded = reread(good);
  ASSERT_TRUE(loaded) << loaded.error().message;
  EXPECT_EQ(loaded->tensors.layers[0].up.bias, bias);
  EXPECT_TRUE(loaded->tensors.layers[0].gate.bias.empty());
  const auto file = read_gguf(std::as_bytes(std::span(good)));
  ASSERT_TRUE(file);
  const auto& tensor = file->tensors.at("blk.0.ffn_up.bias");
  EXPECT_EQ(tensor.type, TensorType::f32);

  std::string infinite = good;
  std::memcpy(infinite.data() + (reinterpret_cast<const char*>(tensor.bytes.data()) - good.data()),
              "\0\0\x80\x7f", 4);
  std::string shorter = good;
  const uint64_t rows = 255;
  const std::string name = "blk.0.ffn_up.bias";
  std::memcpy(shorter.data() + shorter.find(name) + name.size() + 4, &rows, sizeof rows);
  for (const std::string& bad : {infinite, shorter}) {
    const auto refused = reread(bad);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, ErrorCode::corrupt);
    EXPECT_NE(refused.error().message.find(name), std::string::npos) << refused.error().message;
  }

  fs::remove(path_);
  small_.layers[0].up.bias[7] = NAN;
  const auto nan = write_model_file(path_, small_, *test::tiny_tokenizer(), {});
  ASSERT_FALSE(nan);
  EXPECT_NE(nan.error().message.find("blk.0.ffn_up.bias"), std::string::npos);
  small_.layers[0].up.bias.assign(255, 0.0F);
  EXPECT_FALSE(write_model_file(path_, small_, *test::tiny_tokenizer(), {}));
  EXPECT_FALSE(fs::exists(path_));
}

TEST_F(ModelFileTest, BlockScalesAndCodeThreeAreRefusedByName) {
  const std::string good = written(small_);
  const auto file = read_gguf(std::as_bytes(std::span(good)));
  ASSERT_TRUE(file);
  const auto& tensor = file->tensors.at("blk.0.attn_q.weight");
  const size_t at =
      static_cast<size_t>(reinterpret_cast<const char*>(tensor.bytes.data()) - good.data());
  for (const size_t byte : {size_t{0}, size_t{65}}) {
    std::string bytes = good;
    bytes[at + byte] = '\x7f';
    const auto loaded = reread(bytes);
    ASSERT_FALSE(loaded) << byte;
    EXPECT_NE(loaded.error().message.find("blk.0.attn_q.weight"), std::string::npos);
  }
}

TEST_F(ModelFileTest, HostileTextsAreShownShortAndWhole) {
  std::string bytes = written(small_);
  const size_t at = bytes.find("squared_relu");
  ASSERT_NE(at, std::string::npos);
  bytes[at] = '\xff';
  EXPECT_NE(reread(bytes).error().message.find("tristill.activation is not UTF-8"),
            std::string::npos);
  bytes[at] = 'S';
  EXPECT_NE(reread(bytes).error().message.find("accepted are swiglu, squared_relu"),
            std::string::npos);
}

TEST(Ternary, GivesTheReferenceVector) {
  const float w[] = {.1F, -.4F, .05F, .9F, -.2F, .3F, -.7F, 0};
  int8_t t[8];
  EXPECT_FLOAT_EQ(ternarize(w, t), 0.33125F);
  const int8_t expected[] = {0, -1, 0, 1, -1, 1, -1, 0};
  EXPECT_EQ(0, std::memcmp(t, expected, 8));
}

TEST(Ternary, PackingIsItsOwnInverseAndRefusesCodeThree) {
  const auto model = test::random_model({.seed = 3});
  const IntegerMatrix& m = model.layers[0].gate;
  std::vector<uint8_t> packed(m.rows * packed_ternary_bytes(m.cols));
  pack_ternary(m.values.data(), m.rows, m.cols, packed.data());
  std::vector<int8_t> back(m.values.size());
  EXPECT_TRUE(unpack_ternary(packed.data(), m.rows, m.cols, back.data()));
  EXPECT_EQ(back, m.values);
  packed[7] |= 0x0C;
  EXPECT_FALSE(unpack_ternary(packed.data(), m.rows, m.cols, back.data()));
}

TEST(Ternary, ValuesThatAreNotFiniteAreRefused) {
  const float w[] = {1, NAN, 2};
  int8_t t[3];
  EXPECT_THROW(ternarize(w, t), std::domain_error);
}

TEST(Config, NamesTheFieldAtFault) {
  ModelConfig config = test::random_model().config;
  EXPECT_TRUE(check_config(config));
  config.d_model = 300;
  EXPECT_EQ(check_config(config).error().param, "d_model");
  config = test::random_model().config;
  config.n_kv_heads = 3;
  EXPECT_EQ(check_config(config).error().param, "n_kv_heads");
}

TEST(Config, CountsTheParametersOfThe100M) {
  const ModelConfig c{.n_layers = 12,
                      .d_model = 768,
                      .d_ff = 2048,
                      .n_heads = 12,
                      .n_kv_heads = 4,
                      .head_dim = 64,
                      .vocab_size = 32000,
                      .max_context = 1024};
  EXPECT_EQ(count_parameters(c).linear, 75497472U);
  EXPECT_EQ(count_parameters(c).embedding, 24576000U);
}

}  // namespace
}  // namespace tristill
