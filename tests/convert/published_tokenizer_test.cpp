// Tokenizers as they are published: with a space before every text, as files and inside GGUF.
#include "train/convert/published_tokenizer.h"

#include <gtest/gtest.h>

#include <fstream>
#include <vector>

#include "model/format/gguf_writer.h"
#include "model/format/model_file.h"
#include "model/tokenizer/tokenizer.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/test_model.h"

namespace tristill::convert {
namespace {

using namespace std::string_literals;
namespace fs = std::filesystem;

// normalizer_spec { add_dummy_prefix: true }, which protobuf merges into the one there is.
const std::string kDummyPrefix = "\x1A\x02\x18\x01"s;
const std::string kCode = "def add(a, b):\n    return a + b\n";

class PublishedTokenizerTest : public ::testing::Test {
 protected:
  fs::path file(const std::string& name, const std::string& bytes) {
    const fs::path path = folder_.path() / name;
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
  }
  const Tokenizer& tiny() { return *test::tiny_tokenizer(); }
  tests::TemporaryFolder folder_;
};

TEST_F(PublishedTokenizerTest, ASentencePieceModelLosesItsSpaceBeforeTexts) {
  const std::string published = std::string(tiny().serialized()) + kDummyPrefix;
  const auto refused = Tokenizer::from_sentencepiece(published);
  ASSERT_FALSE(refused);  // a text would not come back as it was
  const auto taken = read_published_tokenizer(file("tokenizer.model", published));
  ASSERT_TRUE(taken) << taken.error().message;
  const auto tokenizer = Tokenizer::from_sentencepiece(*taken);
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  EXPECT_EQ((*tokenizer)->encode(kCode), tiny().encode(kCode));
  EXPECT_EQ((*tokenizer)->decode((*tokenizer)->encode(kCode)), kCode);
  EXPECT_EQ((*tokenizer)->special().eos, tiny().special().eos);
  EXPECT_EQ(*read_published_tokenizer(file("again.model", published)), *taken);
}

TEST_F(PublishedTokenizerTest, AGgufVocabularyGivesTheSameTokens) {
  const fs::path path = folder_.path() / "model.gguf";
  ASSERT_TRUE(write_model_file(path, test::random_model({.seed = 1}), tiny(), {}));
  const auto taken = read_published_tokenizer(path);
  ASSERT_TRUE(taken) << taken.error().message;
  const auto tokenizer = Tokenizer::from_sentencepiece(*taken);
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  ASSERT_EQ((*tokenizer)->vocab_size(), tiny().vocab_size());
  for (TokenId id = 0; id < static_cast<TokenId>(tiny().vocab_size()); ++id) {
    EXPECT_EQ((*tokenizer)->piece_of(id), tiny().piece_of(id));
    EXPECT_EQ((*tokenizer)->bytes_of(id), tiny().bytes_of(id));
  }
  EXPECT_EQ((*tokenizer)->encode(kCode), tiny().encode(kCode));
  EXPECT_EQ((*tokenizer)->special().fim_middle, tiny().special().fim_middle);
}

TEST_F(PublishedTokenizerTest, OtherKindsAndDamageAreRefused) {
  const auto refusal = [&](const fs::path& path) {
    const auto taken = read_published_tokenizer(path);
    EXPECT_FALSE(taken) << path;
    if (taken) return std::string();
    EXPECT_EQ(taken.error().param, "tokenizer.from_weights");
    return taken.error().message;
  };
  GgufWriter bytes;
  bytes.add_text("general.architecture", "llama");
  bytes.add_text("tokenizer.ggml.model", "gpt2");
  EXPECT_NE(refusal(file("bytes.gguf", bytes.finish())).find("\"gpt2\""), std::string::npos);
  GgufWriter none;
  none.add_text("general.architecture", "llama");
  EXPECT_NE(refusal(file("none.gguf", none.finish())).find("no tokenizer"), std::string::npos);
  GgufWriter odd;
  odd.add_text("tokenizer.ggml.model", "llama");
  odd.add_texts("tokenizer.ggml.tokens", {"a", "b"});
  odd.add_floats("tokenizer.ggml.scores", std::vector<float>{0});
  odd.add_ints("tokenizer.ggml.token_type", std::vector<int32_t>{1, 1});
  EXPECT_NE(refusal(file("odd.gguf", odd.finish())).find("not as many"), std::string::npos);
  EXPECT_NE(refusal(file("damaged.gguf", "GGUF")), "");
  EXPECT_NE(refusal(folder_.path() / "nothing.model"), "");
}

}  // namespace
}  // namespace tristill::convert
