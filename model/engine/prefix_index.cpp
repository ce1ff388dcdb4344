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

PrefixIndex::Node& PrefixIndex::add_child(Node& parent, const Key& key, KvBlockId block,
                                          uint64_t last_used) {
  auto child = std::make_unique<Node>();
  child->parent = &parent;
  child->key = key;
  child->block = block;
  child->last_used = last_used;
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
      node = &add_child(*node, key, blocks[i], ++clock_);
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

std::vector<PrefixIndex::Known> PrefixIndex::most_recent(uint32_t most) const {
  std::vector<Known> list;
  std::map<const Node*, uint32_t> places;
  std::vector<const Node*> missing;  // of a leaf's path, from the leaf upwards
  for (auto leaf = leaves_.rbegin(); leaf != leaves_.rend(); ++leaf) {
    missing.clear();
    for (const Node* node = leaf->second; node != &root_ && !places.contains(node);
         node = node->parent) {
      missing.push_back(node);
    }
    if (list.size() + missing.size() > most) continue;
    for (auto node = missing.rbegin(); node != missing.rend(); ++node) {
      const auto parent = places.find((*node)->parent);
      places[*node] = static_cast<uint32_t>(list.size());
      list.push_back({.parent = parent == places.end() ? Known::kNoParent : parent->second,
                      .tokens = (*node)->key,
                      .block = (*node)->block});
    }
  }
  return list;
}

void PrefixIndex::restore(std::span<const Known> list) {
  CHECK(n_nodes_ == 0);
  std::vector<Node*> nodes;
  for (const Known& known : list) {
    CHECK(known.parent == Known::kNoParent || known.parent < nodes.size());
    Node& parent = known.parent == Known::kNoParent ? root_ : *nodes[known.parent];
    CHECK(!parent.children.contains(known.tokens));
    nodes.push_back(&add_child(parent, known.tokens, known.block, list.size() - nodes.size()));
    cache_.release(known.block);
  }
  clock_ = list.size();
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
