// Files of torch.save: what torch 2.13 wrote (make_checkpoints.py), and what nobody should write.
#include "train/convert/torch_checkpoint.h"

#include <gtest/gtest.h>

#include "base/atomic_file.h"
#include "train/convert/full_weights.h"
#include "train/convert/pickle.h"
#include "train/convert/zip_archive.h"

namespace tristill::convert {
namespace {

namespace fs = std::filesystem;
using namespace std::string_literals;
using Floats = std::vector<float>;

std::span<const std::byte> view(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

std::string checkpoint(const std::string& name) {
  return *read_file(fs::path(TRISTILL_SOURCE_DIR) / "tests/convert/data" / name);
}

const std::string kQueries = "layers.0.self_attn.q_proj.weight";
const Floats kTable = {-1, -0.5, 0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5};

TEST(TorchCheckpoint, EveryFloatTypeViewsAndSharedStoragesAreRead) {
  const std::string file = checkpoint("state_dict.pt");
  const auto tensors = read_torch_checkpoint(view(file));
  ASSERT_TRUE(tensors) << tensors.error().message;
  EXPECT_EQ(tensors->size(), 6U);
  EXPECT_EQ(tensors->at("embed_tokens.weight").values(), kTable);
  EXPECT_EQ(tensors->at("embed_tokens.weight").dims, (std::vector<uint64_t>{6, 2}));
  EXPECT_EQ(tensors->at("lm_head.weight").values(), kTable);
  EXPECT_EQ(tensors->at(kQueries).values(), (Floats{1, 1.5, 2, 2.5}));
  EXPECT_EQ(tensors->at("layers.0.self_attn.k_proj.weight").values(), (Floats{-1, -0.5, 0, 0.5}));
  EXPECT_EQ(tensors->at("layers.0.input_layernorm.weight").values(), (Floats{-1, -0.5}));
}

// Optimiser, configuration and counters beside the weights; and the prefix of torch.compile goes.
TEST(TorchCheckpoint, ATrainersCheckpointGivesItsWeights) {
  const auto weights =
      FullWeights::open(fs::path(TRISTILL_SOURCE_DIR) / "tests/convert/data/training.pt");
  ASSERT_TRUE(weights) << weights.error().message;
  const ModelConfig config;
  EXPECT_EQ(weights->values("token_embd.weight", config), kTable);
  EXPECT_EQ(weights->values("output.weight", config), kTable);
  EXPECT_EQ(weights->values("output_norm.weight", config), (Floats{1, 1}));
  EXPECT_EQ(weights->values("blk.0.attn_q.weight", config), (Floats{1, 1.5, 2, 2.5}));
}

// [-1, 0, 1, 1, 0, -1] is 0x1A 0x45 in distillix's export.
TEST(TorchCheckpoint, PackedTernaryWeightsComeWithTheirScale) {
  const std::string file = checkpoint("packed.pt");
  EXPECT_NE(file.find("\x1A\x45"), std::string::npos);
  const auto tensors = read_torch_checkpoint(view(file));
  ASSERT_TRUE(tensors) << tensors.error().message;
  EXPECT_EQ(tensors->size(), 2U);
  EXPECT_EQ(tensors->at(kQueries).values(), (Floats{-0.25, 0, 0.25, 0.25, 0, -0.25}));
  EXPECT_EQ(tensors->at(kQueries).dims, (std::vector<uint64_t>{2, 3}));
  EXPECT_EQ(tensors->at("embed_tokens.weight").values(), kTable);
}

TEST(TorchCheckpoint, WhatIsNoWeightIsRefusedWithTheRemedy) {
  for (const auto& [name, remedy] : {std::pair{"transposed.pt", ".contiguous()"},
                                     {"doubles.pt", "torch.DoubleStorage"},
                                     {"legacy.pt", "save it again"}}) {
    const std::string file = checkpoint(name);
    const auto tensors = read_torch_checkpoint(view(file));
    ASSERT_FALSE(tensors) << name;
    EXPECT_EQ(tensors.error().code, ErrorCode::invalid_argument);
    EXPECT_NE(tensors.error().message.find(remedy), std::string::npos) << tensors.error().message;
  }
}

// Beside a weight of floats a scale is a tensor that somebody has to know, not one to pass over.
TEST(TorchCheckpoint, AScaleOfWhatIsNotPackedIsATensorLikeOthers) {
  const std::string file = checkpoint("scaled.pt");
  const auto tensors = read_torch_checkpoint(view(file));
  ASSERT_TRUE(tensors) << tensors.error().message;
  EXPECT_TRUE(tensors->contains("a_scale"));
  const auto weights =
      FullWeights::open(fs::path(TRISTILL_SOURCE_DIR) / "tests/convert/data/scaled.pt");
  ASSERT_FALSE(weights);
}

TEST(TorchCheckpoint, MoreDimensionsThanAnyWeightHasAreRefused) {
  const std::string file = checkpoint("nine_dims.pt");
  EXPECT_EQ(read_torch_checkpoint(view(file)).error().code, ErrorCode::corrupt);
}

TEST(TorchCheckpoint, WithoutItsScaleAPackedMatrixIsRefused) {
  std::string file = checkpoint("packed.pt");
  const size_t at = file.find("q_proj_scale");
  ASSERT_NE(at, std::string::npos);
  file[at + 7] = 'S';
  const auto tensors = read_torch_checkpoint(view(file));
  ASSERT_FALSE(tensors);
  EXPECT_NE(tensors.error().message.find("_scale"), std::string::npos) << tensors.error().message;
}

TEST(TorchCheckpoint, ACutFileIsCorruptWhereverItEnds) {
  const std::string file = checkpoint("training.pt");
  for (size_t n = 0; n < file.size(); n += 7) {
    EXPECT_FALSE(read_torch_checkpoint(view(file.substr(0, n)))) << n;
  }
}

// os.system("true"), as a pickle has it: a name and a call that stay what they are.
TEST(Pickle, CallsAreNamedAndNotMade) {
  const std::string bytes = "\x80\x02"s + "cos\nsystem\nX\x04\x00\x00\x00true\x85R."s;
  const auto pickle = Pickle::parse(view(bytes));
  ASSERT_TRUE(pickle) << pickle.error().message;
  const PickleNode& call = pickle->root();
  ASSERT_EQ(call.kind, PickleNode::Kind::call);
  EXPECT_EQ(pickle->at(call.items[0]).text, "os.system");
  EXPECT_EQ(pickle->at(pickle->at(call.items[1]).items[0]).text, "true");
}

TEST(Pickle, NumbersOfEveryWidthAndSign) {
  const std::string bytes = "\x80\x02(K\x07M\x01\x02J\xfe\xff\xff\xff\x8a\x01\xff\x8a\x00"s +
                            "\x8a\x03\x00\x00\x01G\xbf\xf8\x00\x00\x00\x00\x00\x00\x88\x89Nt."s;
  const auto pickle = Pickle::parse(view(bytes));
  ASSERT_TRUE(pickle) << pickle.error().message;
  std::vector<int64_t> numbers;
  for (const NodeId id : pickle->root().items) numbers.push_back(pickle->at(id).integer);
  EXPECT_EQ(numbers, (std::vector<int64_t>{7, 513, -2, -1, 0, 65536, 0, 1, 0, 0}));
  EXPECT_EQ(pickle->at(pickle->root().items[6]).real, -1.5);
}

TEST(Pickle, HostileBytesAreRefused) {
  for (const std::string& bytes : {""s,
                                   "."s,
                                   "\x80\x06."s,
                                   "N"s,
                                   "NN."s,
                                   "(N."s,
                                   "R."s,
                                   "NR."s,
                                   "a."s,
                                   "Na."s,
                                   "]a."s,
                                   "}s."s,
                                   "}Ns."s,
                                   "]NNs."s,
                                   "(NNNu."s,
                                   "h\x01."s,
                                   "q\x00."s,
                                   "t."s,
                                   "1."s,
                                   "0."s,
                                   "2."s,
                                   "b."s,
                                   "Nb."s,
                                   "Q."s,
                                   "X\xff\xff\xff\xffN."s,
                                   "X\xff\xff\xff\x7fN."s,
                                   "\x93."s,
                                   "NN\x93."s,
                                   "I1\n."s,
                                   "(N0N\x85\x86."s,
                                   "cos"s,
                                   "cos\nsystem"s}) {
    EXPECT_FALSE(Pickle::parse(view(bytes))) << bytes;
  }
}

// A text of 4 KiB that is remembered, and named again and again.
TEST(Pickle, NamesDoNotGrowOutOfWhatIsRemembered) {
  std::string bytes = "\x80\x04X\x00\x10\x00\x00"s + std::string(4096, 'a') + "q\x00"s;
  for (int i = 0; i < 100; ++i) bytes += "h\x00h\x00\x93"s;
  const auto pickle = Pickle::parse(view(bytes + "."));
  ASSERT_FALSE(pickle);
  EXPECT_NE(pickle.error().message.find("1024"), std::string::npos) << pickle.error().message;
}

TEST(Pickle, MoreObjectsThanWeightsNeedAreRefused) {
  EXPECT_FALSE(Pickle::parse(view("("s + std::string((4 << 20) + 1, 'N') + "t.")));
}

TEST(Zip, ACompressedMemberIsRefusedByName) {
  std::string file = checkpoint("packed.pt");
  const size_t directory = file.find("PK\x01\x02");
  ASSERT_NE(directory, std::string::npos);
  file[directory + 10] = 8;
  const auto members = read_zip(view(file));
  ASSERT_FALSE(members);
  EXPECT_NE(members.error().message.find("packed/data.pkl is compressed"), std::string::npos)
      << members.error().message;
}

}  // namespace
}  // namespace tristill::convert
