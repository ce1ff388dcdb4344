// Blocks of the cache: who holds them, and that no two overlap.
#include "model/kv_cache.h"

#include <gtest/gtest.h>

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

TEST(KvCache, PartsOfBlocksLieApartAndInside) {
  const ModelConfig config = tiny_config();
  KvCache cache(config, 2);
  const size_t part = size_t{kKvBlockTokens} * config.head_dim;
  const float* base = cache.keys(0, 0, 0);
  std::set<size_t> offsets;
  for (KvBlockId block = 0; block < 2; ++block) {
    for (uint32_t layer = 0; layer < config.n_layers; ++layer) {
      for (uint32_t head = 0; head < config.n_kv_heads; ++head) {
        for (const float* at : {cache.keys(block, layer, head), cache.values(block, layer, head)}) {
          const auto offset = static_cast<size_t>(at - base);
          EXPECT_EQ(offset % part, 0U);
          EXPECT_LE((offset + part) * sizeof(float), 2 * kv_block_bytes(config));
          EXPECT_TRUE(offsets.insert(offset).second);
        }
      }
    }
  }
}

TEST(KvCache, BlocksForTokensRoundUp) {
  EXPECT_EQ(kv_blocks_for(0), 0U);
  EXPECT_EQ(kv_blocks_for(1), 1U);
  EXPECT_EQ(kv_blocks_for(kKvBlockTokens), 1U);
  EXPECT_EQ(kv_blocks_for(kKvBlockTokens + 1), 2U);
}

}  // namespace
}  // namespace tristill
