#include "model/engine/prefix_index.h"

#include <algorithm>

#include "base/check.h"

namespace tristill::engine {

PrefixIndex::~PrefixIndex() {
  while (!leaves_.empty()) remove(*leaves_.begin()->second);
}

// A leaf's place in the order is its last use.
void PrefixIndex::touch(Node& node) {
  if (&node == &root_) return;
  const bool leaf = leaves_.erase({node.last_used, &node}) > 0;
  node.last_used = ++clock_;
  if (leaf) leaves_.insert({node.last_used, &node});
}

PrefixIndex::Node& PrefixIndex::add_child(Node& parent, const Key& key, KvBlockId block) {
  auto child = std::make_unique<Node>();
  child->parent = &parent;
  child->key = key;
  child->block = block;
  child->last_used = ++clock_;
  leaves_.erase({parent.last_used, &parent});
  Node& added = *(parent.children[key] = std::move(child));
  leaves_.insert({added.last_used, &added});
  cache_.share(block);
  ++n_nodes_;
  return added;
}

void PrefixIndex::remove(Node& leaf) {
  CHECK(leaf.children.empty());
  Node& parent = *leaf.parent;
  cache_.release(leaf.block);
  --n_nodes_;
  leaves_.erase({leaf.last_used, &leaf});
  const Key key = leaf.key;  // the node dies with its entry
  parent.children.erase(key);
  if (parent.children.empty() && &parent != &root_) leaves_.insert({parent.last_used, &parent});
}

PrefixIndex::Match PrefixIndex::match(std::span<const TokenId> tokens) {
  Match found;
  Node* node = &root_;
  while (tokens.size() >= kKvBlockTokens) {
    Key key;
    std::copy_n(tokens.begin(), kKvBlockTokens, key.begin());
    const auto child = node->children.find(key);
    if (child == node->children.end()) break;
    node = child->second.get();
    touch(*node);
    found.blocks.push_back(node->block);
    tokens = tokens.subspan(kKvBlockTokens);
  }
  for (const auto& [key, child] : node->children) {
    const size_t most = std::min<size_t>(tokens.size(), kKvBlockTokens);
    const auto end = std::mismatch(tokens.begin(), tokens.begin() + most, key.begin()).first;
    const auto n = static_cast<uint32_t>(end - tokens.begin());
    if (n <= found.n_partial) continue;
    found.n_partial = n;
    found.partial = child->block;
  }
  return found;
}

void PrefixIndex::insert(std::span<const TokenId> tokens, std::span<KvBlockId> blocks) {
  CHECK(tokens.size() == blocks.size() * kKvBlockTokens);
  Node* node = &root_;
  for (size_t i = 0; i < blocks.size(); ++i) {
    Key key;
    std::copy_n(tokens.begin() + static_cast<std::ptrdiff_t>(i * kKvBlockTokens), kKvBlockTokens,
                key.begin());
    const auto known = node->children.find(key);
    if (known == node->children.end()) {
      node = &add_child(*node, key, blocks[i]);
      continue;
    }
    node = known->second.get();
    touch(*node);
    if (node->block == blocks[i]) continue;
    cache_.share(node->block);
    cache_.release(blocks[i]);
    blocks[i] = node->block;
  }
}

uint32_t PrefixIndex::evict(uint32_t n) {
  uint32_t done = 0;
  auto leaf = leaves_.begin();
  while (done < n && leaf != leaves_.end()) {
    Node& node = *leaf->second;
    if (cache_.n_holders(node.block) > 1) {
      ++leaf;
      continue;
    }
    remove(node);
    ++done;
    ++n_evicted_;
    leaf = leaves_.begin();  // the parent may have become the oldest leaf
  }
  return done;
}

}  // namespace tristill::engine
