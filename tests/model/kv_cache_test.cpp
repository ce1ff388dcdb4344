// Blocks of the cache: who holds them, and that no two overlap.
#include "model/kv_cache.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "base/check.h"
#include "tests/model/random_model.h"

namespace tristill {
namespace {

TEST(KvCache, ABlockIsFreeAfterAsManyReleasesAsHolders) {
  KvCache cache(tiny_config(), 2);
  const KvBlockId block = cache.acquire();
  cache.share(block);
  cache.release(block);
  EXPECT_EQ(cache.n_free(), 1U);
  cache.release(block);
  EXPECT_EQ(cache.n_free(), 2U);
  EXPECT_THROW(cache.release(block), Defect);
}

TEST(KvCache, NoBlockIsHandedOutTwice) {
  KvCache cache(tiny_config(), 5);
  std::set<KvBlockId> blocks;
  for (int i = 0; i < 5; ++i) blocks.insert(cache.acquire());
  EXPECT_EQ(blocks.size(), 5U);
  EXPECT_THROW(cache.acquire(), Defect);
}

TEST(KvCache, HeadsOfBlocksLieApartAndInside) {
  const ModelConfig config = tiny_config();
  for (const KvFormat format : {KvFormat::fp16, KvFormat::int8}) {
    KvCache cache(config, 2, format);
    const size_t part = kernels::kv_head_bytes(format, config.head_dim);
    std::set<size_t> offsets;
    for (KvBlockId block = 0; block < 2; ++block) {
      for (uint32_t layer = 0; layer < config.n_layers; ++layer) {
        for (uint32_t head = 0; head < config.n_kv_heads; ++head) {
          const auto at = cache.head(layer, head, &block);
          const auto offset =
              static_cast<size_t>(at.base + block * at.stride - cache.contents(0).data());
          EXPECT_EQ(offset % part, 0U);
          EXPECT_LE(offset + part, 2 * kv_block_bytes(config, format));
          EXPECT_TRUE(offsets.insert(offset).second);
        }
      }
    }
  }
}

TEST(KvCache, ACopyHasTheContents) {
  KvCache cache(tiny_config(), 2);
  const KvBlockId from = cache.acquire();
  const KvBlockId to = cache.acquire();
  for (size_t i = 0; i < cache.contents(from).size(); ++i) {
    cache.contents(from)[i] = static_cast<uint8_t>(i * 7);
  }
  cache.copy(from, to);
  EXPECT_TRUE(std::equal(cache.contents(from).begin(), cache.contents(from).end(),
                         cache.contents(to).begin()));
}

TEST(KvCache, BlocksForTokensRoundUp) {
  EXPECT_EQ(kv_blocks_for(0), 0U);
  EXPECT_EQ(kv_blocks_for(1), 1U);
  EXPECT_EQ(kv_blocks_for(kKvBlockTokens), 1U);
  EXPECT_EQ(kv_blocks_for(kKvBlockTokens + 1), 2U);
}

}  // namespace
}  // namespace tristill
