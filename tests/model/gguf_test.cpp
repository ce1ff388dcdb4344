#include <gtest/gtest.h>

#include <cstring>

#include "model/format/gguf.h"
#include "model/format/gguf_writer.h"

namespace tristill {
namespace {

// A container written by hand, so that every field can be wrong.
class Bytes {
 public:
  template <class T>
  Bytes& put(T value) {
    out_.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  Bytes& text(std::string_view text) {
    put<uint64_t>(text.size());
    out_ += text;
    return *this;
  }
  Bytes& head(uint64_t n_tensors, uint64_t n_metadata) {
    out_ += "GGUF";
    return put<uint32_t>(3).put(n_tensors).put(n_metadata);
  }
  Bytes& tensor(std::string_view name, std::initializer_list<uint64_t> dims, uint32_t type,
                uint64_t offset) {
    text(name).put(static_cast<uint32_t>(dims.size()));
    for (const uint64_t dim : dims) put(dim);
    return put(type).put(offset);
  }
  // Aligns and adds n bytes of tensors.
  Bytes& data(size_t n) {
    out_.resize((out_.size() + 31) / 32 * 32 + n, '\1');
    return *this;
  }
  Result<GgufFile> read() const { return read_gguf(std::as_bytes(std::span(out_))); }
  std::string refusal() const {
    const auto file = read();
    if (file) return "";
    EXPECT_EQ(file.error().code, ErrorCode::corrupt);
    EXPECT_EQ(file.error().param, "model");
    EXPECT_LT(file.error().message.size(), 600U);
    return file.error().message;
  }

 private:
  std::string out_;
};

void expect_refused(const Bytes& bytes, const std::string& because) {
  const std::string message = bytes.refusal();
  EXPECT_NE(message.find(because), std::string::npos) << "said: " << message;
}

constexpr uint32_t kF32 = 0, kI8 = 24, kTq2 = 35;

std::string written() {
  GgufWriter out;
  out.add_text("general.architecture", "x");
  out.add_u32("n", 7);
  out.add_f32("f", 0.5F);
  out.add_bool("b", true);
  out.add_bytes("bytes", std::string("\0\xff", 2));
  out.add_texts("texts", {"a", "", "bc"});
  out.add_floats("floats", std::vector<float>{1, -2});
  out.add_ints("ints", std::vector<int32_t>{-1, 2, 3});
  out.add_tensor("t", TensorType::f32, {3, 2}, std::string(24, '\2'));
  out.add_tensor("u", TensorType::i8, {5}, "hello");
  return out.finish();
}

TEST(Gguf, WhatIsWrittenComesBackByKeyAndType) {
  const std::string bytes = written();
  const auto file = read_gguf(std::as_bytes(std::span(bytes)));
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ(*file->text("general.architecture"), "x");
  EXPECT_EQ(*file->unsigned_number("n", 7), 7U);
  EXPECT_EQ(*file->number("f"), 0.5);
  EXPECT_EQ(*file->boolean("b"), true);
  const auto& array = std::get<GgufArray>(file->metadata.at("texts"));
  EXPECT_EQ(std::get<std::vector<std::string>>(array), (std::vector<std::string>{"a", "", "bc"}));
  const auto& ints = std::get<GgufArray>(file->metadata.at("ints"));
  EXPECT_EQ(std::get<std::vector<int64_t>>(ints), (std::vector<int64_t>{-1, 2, 3}));
  const GgufTensor& u = file->tensors.at("u");
  EXPECT_EQ(std::memcmp(u.bytes.data(), "hello", 5), 0);
  EXPECT_EQ(file->tensors.at("t").elements(), 6U);
}

TEST(Gguf, AKeyOfAnotherTypeOrRangeIsNamed) {
  const std::string bytes = written();
  const auto file = read_gguf(std::as_bytes(std::span(bytes)));
  ASSERT_TRUE(file);
  EXPECT_NE(file->text("n").error().message.find("key n"), std::string::npos);
  EXPECT_FALSE(file->text("missing"));
  EXPECT_FALSE(file->unsigned_number("n", 6));
  EXPECT_FALSE(file->unsigned_number("f", 100));
  EXPECT_FALSE(file->number("n"));
  EXPECT_FALSE(file->boolean("n"));
}

TEST(Gguf, EveryTruncationIsRefused) {
  const std::string bytes = written();
  // The last tensor's padding may be missing.
  const size_t end = bytes.rfind("hello") + 5;
  for (size_t n = 0; n < end; ++n) {
    EXPECT_FALSE(read_gguf(std::as_bytes(std::span(bytes).first(n)))) << n;
  }
  EXPECT_TRUE(read_gguf(std::as_bytes(std::span(bytes).first(end))));
}

TEST(Gguf, EveryEightBytesAsAHugeLengthAreRefusedOrHarmless) {
  const std::string bytes = written();
  size_t refused = 0;
  for (const uint64_t huge :
       {UINT64_MAX, UINT64_MAX / 2 + 1, uint64_t{1} << 32, uint64_t{1} << 61}) {
    for (size_t at = 0; at + 8 <= bytes.size(); ++at) {
      std::string damaged = bytes;
      std::memcpy(damaged.data() + at, &huge, sizeof huge);
      const auto file = read_gguf(std::as_bytes(std::span(damaged)));
      refused += file ? 0 : 1;
      if (!file) continue;
      for (const auto& [name, tensor] : file->tensors) {
        const auto* first = reinterpret_cast<const char*>(tensor.bytes.data());
        ASSERT_GE(first, damaged.data());
        ASSERT_LE(first + tensor.bytes.size(), damaged.data() + damaged.size());
      }
    }
  }
  EXPECT_GT(refused, 1000U);
}

TEST(Gguf, CountsAndTypesAreChecked) {
  expect_refused(Bytes().head(uint64_t{1} << 40, 0), "too many");
  expect_refused(Bytes().head(0, uint64_t{1} << 63), "too many");
  expect_refused(Bytes().head(0, 5), "inside entry 0");
  expect_refused(Bytes().head(0, 1).text("k").put<uint32_t>(77).put<uint64_t>(0),
                 "unknown type 77");
  expect_refused(Bytes().head(0, 1).text("").put<uint32_t>(4).put<uint32_t>(0), "entry 0 is empty");
  expect_refused(Bytes().head(0, 1).text("\xff").put<uint32_t>(4).put<uint32_t>(0), "not UTF-8");
  expect_refused(Bytes().head(0, 1).text(std::string(256, 'k')).put<uint32_t>(4).put<uint32_t>(0),
                 "longer than 255");
  expect_refused(Bytes().head(0, 1).text("k").put<uint32_t>(8).text("\xc3"), "not UTF-8");
  expect_refused(
      Bytes().head(0, 2).text("k").put<uint32_t>(7).put('\1').text("k").put<uint32_t>(7).put('\1'),
      "twice");
}

TEST(Gguf, ArraysAreCheckedAndNotNested) {
  constexpr uint32_t kArray = 9, kU8 = 0, kString = 8;
  const auto array = [](uint32_t type, uint64_t count) {
    return Bytes().head(0, 1).text("k").put(kArray).put(type).put(count);
  };
  expect_refused(array(kU8, UINT64_MAX), "longer than the file");
  expect_refused(array(kU8, 1000), "longer than the file");
  expect_refused(array(kString, 3).text("a").put(UINT64_MAX), "inside key k");
  expect_refused(array(kArray, 1).put(kU8).put<uint64_t>(0), "accepted are");
  expect_refused(array(99, 1).put<uint64_t>(0), "accepted are");
}

TEST(Gguf, TensorsLieInsideTheFileAlignedAndApart) {
  EXPECT_EQ(Bytes().head(1, 0).tensor("t", {8}, kF32, 0).data(32).refusal(), "");
  expect_refused(Bytes().head(1, 0).tensor("t", {8}, kF32, 0).data(31), "outside the file");
  expect_refused(Bytes().head(1, 0).tensor("t", {8}, kF32, 32).data(32), "outside the file");
  expect_refused(Bytes().head(1, 0).tensor("t", {1}, kF32, UINT64_MAX - 31).data(32),
                 "outside the file");
  expect_refused(Bytes().head(1, 0).tensor("t", {1}, kF32, 4).data(64), "not aligned");
  expect_refused(Bytes().head(2, 0).tensor("t", {8}, kF32, 0).tensor("t", {8}, kF32, 32).data(64),
                 "twice");
  expect_refused(Bytes().head(2, 0).tensor("t", {8}, kF32, 0).tensor("u", {8}, kF32, 0).data(64),
                 "share bytes");
  expect_refused(Bytes().head(2, 0).tensor("t", {8}, kF32, 32).tensor("u", {33}, kI8, 0).data(64),
                 "share bytes");
  EXPECT_EQ(
      Bytes().head(2, 0).tensor("t", {8}, kF32, 32).tensor("u", {32}, kI8, 0).data(64).refusal(),
      "");
}

TEST(Gguf, ShapesThatOverflowAreRefused) {
  const uint64_t big = uint64_t{1} << 33;
  expect_refused(Bytes().head(1, 0).tensor("t", {big, big}, kF32, 0).data(64), "impossible shape");
  expect_refused(Bytes().head(1, 0).tensor("t", {UINT64_MAX}, kI8, 0).data(64), "impossible shape");
  expect_refused(Bytes().head(1, 0).tensor("t", {0}, kI8, 0).data(64), "impossible shape");
  expect_refused(Bytes().head(1, 0).tensor("t", {8, 0}, kI8, 0).data(64), "impossible shape");
  expect_refused(Bytes().head(1, 0).tensor("t", {}, kI8, 0).data(64), "malformed");
  expect_refused(Bytes().head(1, 0).tensor("t", {1, 1, 1, 1, 1}, kI8, 0).data(64), "malformed");
  expect_refused(Bytes().head(1, 0).tensor("t", {255}, kTq2, 0).data(66), "whole blocks");
  expect_refused(Bytes().head(1, 0).tensor("t", {128, 2}, kTq2, 0).data(66), "whole blocks");
  expect_refused(Bytes().head(1, 0).tensor("t", {256}, 34, 0).data(66), "type 34");
  expect_refused(Bytes().head(1, 0).tensor(std::string(300, 'n'), {1}, kI8, 0).data(1), "name");
}

TEST(Gguf, TheAlignmentOfTheFileIsObeyed) {
  const auto with = [](uint32_t alignment) {
    return Bytes()
        .head(1, 1)
        .text("general.alignment")
        .put<uint32_t>(4)
        .put(alignment)
        .tensor("t", {4}, kI8, 0);
  };
  expect_refused(with(0).data(64), "power of two");
  expect_refused(with(48).data(64), "power of two");
  expect_refused(with(1 << 20).data(64), "general.alignment");
  const auto file = with(1).put<uint32_t>(0x64636261).read();
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ(std::memcmp(file->tensors.at("t").bytes.data(), "abcd", 4), 0);
}

}  // namespace
}  // namespace tristill
