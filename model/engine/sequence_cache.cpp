#include "model/engine/sequence_cache.h"

#include <algorithm>
#include <string>

#include "base/log.h"
#include "model/engine/prefix_store.h"

namespace tristill::engine {
namespace {

constexpr uint64_t kMostSavedBytes = uint64_t{512} << 20;
constexpr size_t kMostFiles = 8;  // of a folder: models come and go

// Changes with whatever changes the bytes of a block: the version with our own arithmetic.
std::string identity_of(const Model& model, KvFormat format) {
  constexpr const char* kVersion = "1";
  return model.fingerprint + (format == KvFormat::int8 ? "-int8-" : "-fp16-") + kVersion;
}

// How many tokens two texts have in common from their beginning.
uint32_t common_prefix(std::span<const TokenId> a, std::span<const TokenId> b) {
  const size_t most = std::min(a.size(), b.size());
  const auto end =
      std::mismatch(a.begin(), a.begin() + static_cast<std::ptrdiff_t>(most), b.begin());
  return static_cast<uint32_t>(end.first - a.begin());
}

}  // namespace

// Blocks of its beginning that a running sequence holds cost nothing; those that only the index
// holds count as free until it takes them.
WaitingNeed SequenceCache::need_of(const Sequence& sequence, uint32_t max_context) {
  const auto n_tokens = static_cast<uint32_t>(sequence.tokens.size());
  uint32_t blocks = kv_blocks_for(std::min(n_tokens + 1, max_context));
  if (!may_share(sequence)) return {n_tokens, blocks};
  const auto match = index_.match(std::span(sequence.tokens).first(n_tokens - 1));
  for (const KvBlockId block : match.blocks) {
    if (cache_.n_holders(block) > 1) --blocks;
  }
  return {n_tokens - match.n_tokens(), blocks};
}

bool SequenceCache::gains_by_waiting(const Sequence& sequence, const Sequence& first) {
  if (!may_share(sequence)) return false;
  const uint32_t common = common_prefix(sequence.tokens, first.tokens);
  if (common < kKvBlockTokens) return false;
  const auto known = index_.match(std::span(sequence.tokens).first(common));
  return known.blocks.size() < common / kKvBlockTokens;
}

bool SequenceCache::awaits_twin(const Sequence& sequence, Sequences running) const {
  if (!may_share(sequence)) return false;
  for (const auto& other : running) {
    if (other->n_missing() <= 1) continue;
    const uint32_t common = common_prefix(sequence.tokens, other->tokens);
    if (common / kKvBlockTokens > other->n_computed / kKvBlockTokens) return true;
  }
  return false;
}

std::vector<Sequence*> SequenceCache::leaders(std::span<Sequence* const> candidates,
                                              Sequences running) {
  std::vector<Sequence*> ahead;
  for (Sequence* candidate : candidates) {
    if (awaits_twin(*candidate, running)) continue;
    const bool follows = std::any_of(ahead.begin(), ahead.end(), [&](const Sequence* first) {
      return gains_by_waiting(*candidate, *first);
    });
    if (!follows) ahead.push_back(candidate);
  }
  return ahead;
}

void SequenceCache::adopt(Sequence& sequence, Sequences running) {
  if (!may_share(sequence)) return;
  const auto most = static_cast<uint32_t>(sequence.tokens.size()) - 1;
  const auto match = index_.match(std::span(sequence.tokens).first(most));
  for (const KvBlockId block : match.blocks) {
    cache_.share(block);
    sequence.blocks.push_back(block);
  }
  sequence.n_published = static_cast<uint32_t>(match.blocks.size());
  sequence.n_computed = sequence.n_published * kKvBlockTokens;
  if (match.n_partial > 0) {
    cache_.share(match.partial);  // or the search for a free block might evict it
    if (make_room()) {
      sequence.blocks.push_back(cache_.acquire());
      backend_.copy_block(match.partial, sequence.blocks.back());
      sequence.n_computed += match.n_partial;
    }
    cache_.release(match.partial);
  }
  copy_from_running(sequence, most, running);
}

// The last block of another's beginning, not yet whole: copied, because both will write on in it.
void SequenceCache::copy_from_running(Sequence& sequence, uint32_t most, Sequences running) {
  const Sequence* donor = nullptr;
  uint32_t best = sequence.n_computed;
  for (const auto& other : running) {
    if (other.get() == &sequence) continue;
    const auto known = std::span(other->tokens).first(other->n_computed);
    const uint32_t common = common_prefix(std::span(sequence.tokens).first(most), known);
    if (common <= best || common / kKvBlockTokens != sequence.n_published) continue;
    best = common;
    donor = other.get();
  }
  if (donor == nullptr) return;
  if (sequence.blocks.size() == sequence.n_published) sequence.blocks.push_back(acquire_block());
  backend_.copy_block(donor->blocks[sequence.n_published], sequence.blocks.back());
  sequence.n_computed = best;
}

void SequenceCache::extend(Sequence& sequence, uint32_t n_tokens) {
  const uint32_t n_blocks = kv_blocks_for(n_tokens);
  while (sequence.blocks.size() < n_blocks) sequence.blocks.push_back(acquire_block());
}

void SequenceCache::publish(Sequence& sequence) {
  if (!shares_) return drop_hidden(sequence);
  const uint32_t whole = sequence.n_computed / kKvBlockTokens;
  if (whole <= sequence.n_published) return;
  index_.insert(std::span(sequence.tokens).first(size_t{whole} * kKvBlockTokens),
                std::span(sequence.blocks).first(whole));
  sequence.n_published = whole;
}

void SequenceCache::drop_hidden(Sequence& sequence) {
  const uint32_t hidden = kernels::first_seen(sequence.n_computed + 1, window_) / kKvBlockTokens;
  while (sequence.n_dropped < hidden) cache_.release(sequence.blocks[sequence.n_dropped++]);
}

void SequenceCache::release(Sequence& sequence) {
  for (size_t i = sequence.n_dropped; i < sequence.blocks.size(); ++i) {
    cache_.release(sequence.blocks[i]);
  }
  sequence.blocks.clear();
  sequence.n_dropped = 0;
  sequence.n_computed = 0;
  sequence.n_published = 0;
}

void SequenceCache::keep(const std::filesystem::path& folder, const Model& model) const {
  if (!shares_) return;
  const std::string identity = identity_of(model, cache_.format());
  const auto saved = save_prefixes(folder / (identity + ".kv"), identity, index_, backend_,
                                   cache_.block_bytes(), kMostSavedBytes);
  if (saved) {
    log_info("prefix cache written",
             {{"model", model.name}, {"tokens", std::to_string(*saved * kKvBlockTokens)}});
    keep_newest(folder, kMostFiles);
  } else {
    log_warn("prefix cache not written", {{"reason", saved.error().message}});
  }
}

void SequenceCache::remember(const std::filesystem::path& folder, const Model& model) {
  if (!shares_) return;
  const std::string identity = identity_of(model, cache_.format());
  const auto loaded = load_prefixes(folder / (identity + ".kv"), identity, index_, cache_, backend_,
                                    cache_.block_bytes());
  if (loaded) {
    log_info("prefix cache read",
             {{"model", model.name}, {"tokens", std::to_string(*loaded * kKvBlockTokens)}});
  } else if (loaded.error().code != ErrorCode::not_found) {
    log_warn("prefix cache not read", {{"reason", loaded.error().message}});
  }
}

uint32_t SequenceCache::count_free(Sequences running) {
  is_held_.assign(cache_.n_blocks(), false);
  uint32_t held_of_index = 0;
  for (const auto& sequence : running) {
    for (uint32_t i = 0; i < sequence->n_published; ++i) {
      if (is_held_[sequence->blocks[i]]) continue;
      is_held_[sequence->blocks[i]] = true;
      ++held_of_index;
    }
  }
  return cache_.n_free() + index_.n_blocks() - held_of_index;
}

uint32_t SequenceCache::count_own(const Sequence& sequence) const {
  uint32_t own = 0;
  for (size_t i = sequence.n_dropped; i < sequence.blocks.size(); ++i) {
    const uint32_t holders = i < sequence.n_published ? 2 : 1;
    if (cache_.n_holders(sequence.blocks[i]) <= holders) ++own;
  }
  return own;
}

KvBlockId SequenceCache::acquire_block() {
  make_room();
  return cache_.acquire();
}

// Whether a block is free, if need be after an eviction.
bool SequenceCache::make_room() {
  if (cache_.n_free() == 0) index_.evict(1);
  return cache_.n_free() > 0;
}

}  // namespace tristill::engine
