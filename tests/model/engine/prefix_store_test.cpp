// Known beginnings in a file: an engine that starts with it recomputes only what is new, and no
// damaged or foreign file is believed.
#include "model/engine/prefix_store.h"

#include <gtest/gtest.h>

#include <fstream>

#include "tests/model/engine/story.h"
#include "tests/support/temporary_folder.h"

namespace tristill::engine {
namespace {

namespace fs = std::filesystem;

class PrefixStoreTest : public testing::Test {
 protected:
  EngineOptions kept(KvFormat format = KvFormat::fp16) const {
    EngineOptions kept = options();
    kept.kv_format = format;
    kept.prefix_folder = folder_;
    return kept;
  }

  // What an engine of its own says to a prompt of 70 tokens.
  static Story said(const EngineOptions& options, size_t n = 70) {
    Engine engine(tiny_model(), options);
    return read(submit(engine, request_of(prompt_of(n), 8)));
  }

  fs::path only_file() const {
    const fs::directory_iterator files(folder_);
    return files == fs::directory_iterator() ? fs::path() : files->path();
  }

  tests::TemporaryFolder temporary_;
  const fs::path folder_ = temporary_.path();
};

TEST_F(PrefixStoreTest, TheNextEngineKnowsWhatTheLastOneComputed) {
  const Story first = said(kept());
  EXPECT_EQ(first.end.cached_tokens, 0U);
  const Story second = said(kept());
  EXPECT_EQ(second.end.cached_tokens, 64U);  // whole blocks
  EXPECT_EQ(second.tokens(), first.tokens());
  EXPECT_EQ(said(options()).tokens(), first.tokens());
}

TEST_F(PrefixStoreTest, EachFormatHasItsOwnFile) {
  said(kept());
  EXPECT_EQ(said(kept(KvFormat::int8)).end.cached_tokens, 0U);
  EXPECT_EQ(said(kept(KvFormat::int8)).end.cached_tokens, 64U);
  EXPECT_EQ(said(kept()).end.cached_tokens, 64U);
}

TEST_F(PrefixStoreTest, ASmallerCacheTakesWhatItHasRoomFor) {
  said(kept());
  EngineOptions small = kept();
  small.kv_cache_tokens = 64;
  const Story story = said(small, 50);
  EXPECT_EQ(story.end.cached_tokens, 48U);  // there is no room to copy a part of the last block
  EXPECT_EQ(story.tokens(), said(options(), 50).tokens());
}

TEST_F(PrefixStoreTest, ADamagedFileIsNotRead) {
  const Story first = said(kept());
  const fs::path file = only_file();
  ASSERT_FALSE(file.empty());
  const auto whole = fs::file_size(file);
  for (const uint64_t at : {uint64_t{0}, uint64_t{30}, uint64_t{100}, whole / 2, whole - 1}) {
    said(kept());  // writes it anew
    std::fstream edit(file, std::ios::in | std::ios::out | std::ios::binary);
    edit.seekg(static_cast<std::streamoff>(at));
    const char byte = static_cast<char>(edit.get() ^ 1);
    edit.seekp(static_cast<std::streamoff>(at));
    edit.put(byte);
    edit.close();
    const Story story = said(kept());
    EXPECT_EQ(story.end.cached_tokens, 0U) << at;
    EXPECT_EQ(story.tokens(), first.tokens());
  }
  for (const uint64_t size : {uint64_t{0}, uint64_t{50}, whole - 200}) {
    said(kept());
    fs::resize_file(file, size);
    EXPECT_EQ(said(kept()).end.cached_tokens, 0U) << size;
  }
}

// Of several texts the last ones come back, each whole from its beginning.
TEST_F(PrefixStoreTest, TheMostRecentBlocksAreWritten) {
  KvCache cache(tiny_config(), 16);
  ThreadTeam team(1);
  const auto backend = make_backend(Device::cpu, tiny_model(), cache, team, 128);
  const auto path = folder_ / "some.kv";
  const auto remember = [&](PrefixIndex& index, TokenId first) {
    const auto tokens = prompt_of(32, first);
    std::vector<KvBlockId> blocks = {cache.acquire(), cache.acquire()};
    for (const KvBlockId block : blocks) {
      std::fill_n(cache.contents(block).begin(), 4, static_cast<uint8_t>(first + block));
    }
    index.insert(tokens, blocks);
    for (const KvBlockId block : blocks) cache.release(block);
    return cache.contents(blocks[1])[0];
  };
  uint8_t mark = 0;
  {
    PrefixIndex index(cache);
    remember(index, 1);
    mark = remember(index, 2);
    const uint64_t room = 3 * (cache.block_bytes() + 100);
    const auto saved = save_prefixes(path, "us", index, *backend, cache.block_bytes(), room);
    ASSERT_TRUE(saved) << saved.error().message;
    EXPECT_EQ(*saved, 2U);
  }
  PrefixIndex index(cache);
  const auto foreign = load_prefixes(path, "them", index, cache, *backend, cache.block_bytes());
  ASSERT_FALSE(foreign);
  EXPECT_NE(foreign.error().message.find("another model"), std::string::npos);
  ASSERT_EQ(load_prefixes(path, "us", index, cache, *backend, cache.block_bytes()).value(), 2U);
  EXPECT_TRUE(index.match(prompt_of(32, 1)).blocks.empty());
  const auto match = index.match(prompt_of(32, 2));
  ASSERT_EQ(match.blocks.size(), 2U);
  EXPECT_EQ(cache.contents(match.blocks[1])[0], mark);
  EXPECT_EQ(cache.n_free(), 14U);
}

TEST_F(PrefixStoreTest, TheOldestFilesGo) {
  const auto now = fs::file_time_type::clock::now();
  for (int i = 0; i < 5; ++i) {
    const fs::path file = folder_ / (std::to_string(i) + ".kv");
    std::ofstream(file).put('x');
    fs::last_write_time(file, now - std::chrono::hours(i));
  }
  std::ofstream(folder_ / "other").put('x');
  keep_newest(folder_, 2);
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(fs::exists(folder_ / (std::to_string(i) + ".kv")), i < 2) << i;
  }
  EXPECT_TRUE(fs::exists(folder_ / "other"));
  keep_newest(folder_ / "missing", 1);
}

TEST_F(PrefixStoreTest, AFolderThatCannotBeWrittenCostsOnlyTheCache) {
  EngineOptions nowhere = kept();
  nowhere.prefix_folder = folder_ / "missing";
  EXPECT_EQ(said(nowhere).end.finish, FinishReason::length);
}

}  // namespace
}  // namespace tristill::engine
