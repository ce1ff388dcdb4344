// PrefixIndex: which blocks of the cache hold which tokens. A tree whose edges are whole blocks of
// kKvBlockTokens tokens: a path from the root is the beginning of some text, its blocks hold the
// text's keys and values. It holds every block once (KvCache::share) and gives up the least
// recently used leaf that nobody else holds. The engine's thread alone.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "model/kv_cache.h"
#include "model/tokenizer/tokenizer.h"

namespace tristill::engine {

class PrefixIndex {
 public:
  explicit PrefixIndex(KvCache& cache) : cache_(cache) {}
  ~PrefixIndex();
  PrefixIndex(const PrefixIndex&) = delete;
  PrefixIndex& operator=(const PrefixIndex&) = delete;

  // The longest known beginning of tokens.
  struct Match {
    std::vector<KvBlockId> blocks;  // whole ones, borrowed: share them before anything is evicted
    // A block whose first n_partial tokens go on as the text does; valid when n_partial > 0.
    KvBlockId partial = 0;
    uint32_t n_partial = 0;
    uint32_t n_tokens() const {
      return static_cast<uint32_t>(blocks.size()) * kKvBlockTokens + n_partial;
    }
  };
  Match match(std::span<const TokenId> tokens);

  // blocks[i] holds tokens [16 i, 16 i + 16), whole blocks only. Where the tokens are known already
  // the known block takes the place of the given one, which is released.
  void insert(std::span<const TokenId> tokens, std::span<KvBlockId> blocks);

  // Gives up to n blocks back to the cache; returns how many. Blocks that a sequence holds stay.
  uint32_t evict(uint32_t n);

  // A block that is known, as the child of another (an index into the list, or kNoParent).
  struct Known {
    static constexpr uint32_t kNoParent = UINT32_MAX;
    uint32_t parent;
    std::array<TokenId, kKvBlockTokens> tokens;
    KvBlockId block;
  };
  // Up to `most` of them with all their parents, the most recently used first; parents stand
  // before their children.
  std::vector<Known> most_recent(uint32_t most) const;
  // Fills an empty index with such a list. Each block's hold passes to the index.
  void restore(std::span<const Known> list);

  uint32_t n_blocks() const { return n_nodes_; }
  uint64_t n_evicted() const { return n_evicted_; }

 private:
  using Key = std::array<TokenId, kKvBlockTokens>;
  struct Node {
    Node* parent = nullptr;
    Key key{};
    KvBlockId block = 0;
    uint64_t last_used = 0;
    std::map<Key, std::unique_ptr<Node>> children;
  };

  void touch(Node& node);
  Node& add_child(Node& parent, const Key& key, KvBlockId block, uint64_t last_used);
  void remove(Node& leaf);

  KvCache& cache_;
  Node root_;
  uint32_t n_nodes_ = 0;
  uint64_t n_evicted_ = 0;
  uint64_t clock_ = 0;
  std::set<std::pair<uint64_t, Node*>> leaves_;  // by last use, the oldest first
};

}  // namespace tristill::engine
