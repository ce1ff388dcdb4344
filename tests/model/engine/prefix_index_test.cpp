// The prefix index remembers beginnings by their tokens and gives up what nobody has used longest.
#include "model/engine/prefix_index.h"

#include <gtest/gtest.h>

#include <numeric>

#include "tests/model/random_model.h"

namespace tristill::engine {
namespace {

std::vector<TokenId> text(size_t n, TokenId first) {
  std::vector<TokenId> tokens(n);
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

class PrefixIndexTest : public testing::Test {
 protected:
  // Puts a text's whole blocks in and lets go of them, as a sequence that ends does.
  std::vector<KvBlockId> remember(const std::vector<TokenId>& tokens) {
    std::vector<KvBlockId> blocks(tokens.size() / kKvBlockTokens);
    for (auto& block : blocks) block = cache_.acquire();
    index_.insert(std::span(tokens).first(blocks.size() * kKvBlockTokens), blocks);
    for (const KvBlockId block : blocks) cache_.release(block);
    return blocks;
  }

  KvCache cache_{tiny_config(), 8};
  PrefixIndex index_{cache_};
};

TEST_F(PrefixIndexTest, FindsTheLongestBeginningInWholeBlocksAndAPart) {
  const auto blocks = remember(text(48, 0));
  auto query = text(48, 0);
  query[40] = 999;
  const auto match = index_.match(query);
  EXPECT_EQ(match.blocks, (std::vector<KvBlockId>{blocks[0], blocks[1]}));
  EXPECT_EQ(match.partial, blocks[2]);
  EXPECT_EQ(match.n_partial, 8U);
  EXPECT_EQ(match.n_tokens(), 40U);
  EXPECT_EQ(index_.match(text(10, 0)).n_tokens(), 10U);
  EXPECT_EQ(index_.match(text(20, 5)).n_tokens(), 0U);
}

TEST_F(PrefixIndexTest, TheSameTokensAreHeldOnce) {
  const auto first = remember(text(32, 0));
  const auto second = remember(text(32, 0));
  EXPECT_EQ(first, second);
  EXPECT_EQ(index_.n_blocks(), 2U);
  EXPECT_EQ(cache_.n_free(), 6U);
}

TEST_F(PrefixIndexTest, EvictsTheLeastRecentlyUsedLeafFirst) {
  remember(text(32, 0));
  remember(text(32, 1000));
  index_.match(text(32, 0));  // used again
  EXPECT_EQ(index_.evict(1), 1U);
  EXPECT_EQ(index_.match(text(32, 1000)).blocks.size(), 1U);
  EXPECT_EQ(index_.match(text(32, 0)).blocks.size(), 2U);
  EXPECT_EQ(index_.evict(100), 3U);
  EXPECT_EQ(cache_.n_free(), 8U);
}

TEST_F(PrefixIndexTest, BlocksThatASequenceHoldsStay) {
  const auto blocks = remember(text(48, 0));
  for (size_t i = 0; i < 2; ++i) cache_.share(blocks[i]);
  EXPECT_EQ(index_.evict(10), 1U);
  EXPECT_EQ(index_.match(text(48, 0)).blocks.size(), 2U);
  for (size_t i = 0; i < 2; ++i) cache_.release(blocks[i]);
  EXPECT_EQ(index_.evict(10), 2U);
}

}  // namespace
}  // namespace tristill::engine
