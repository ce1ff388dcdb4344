// SequenceCache: which cache blocks each sequence holds, and which of them others may share: whole
// blocks through the prefix index, a last one that is not whole as a copy. Not who may have room
// (scheduler.h) nor how memory is counted (kv_cache.h). Belongs to the engine's thread.
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <vector>

#include "model/backend.h"
#include "model/engine/prefix_index.h"
#include "model/engine/scheduler.h"
#include "model/engine/sequence.h"
#include "model/kv_cache.h"
#include "model/weights.h"

namespace tristill::engine {

using Sequences = std::span<const std::unique_ptr<Sequence>>;

class SequenceCache {
 public:
  // Without shares every sequence computes all of its prompt. Both outlive this.
  // With a sliding window (0: none) blocks that no later token sees are let go, unless they are
  // shared: then others may want the beginning.
  SequenceCache(KvCache& cache, Backend& backend, bool shares, uint32_t window)
      : cache_(cache), backend_(backend), index_(cache), shares_(shares), window_(window) {}

  // What a sequence that holds nothing yet would need, if it came next.
  WaitingNeed need_of(const Sequence& sequence, uint32_t max_context);
  // Those that gain nothing by waiting for a beginning which a running one computes; of several
  // with the same beginning the first.
  std::vector<Sequence*> leaders(std::span<Sequence* const> candidates, Sequences running);

  // Takes over what is known of a sequence's beginning. Its last token is always computed: it gives
  // the logits.
  void adopt(Sequence& sequence, Sequences running);
  // Blocks for the positions below n_tokens; evicts what only the index holds. Throws when none is
  // left.
  void extend(Sequence& sequence, uint32_t n_tokens);
  // After a step: makes the blocks that are whole now known to others.
  void publish(Sequence& sequence);
  void release(Sequence& sequence);

  // What is known, kept in a file of the folder from one engine of the model to the next
  // (prefix_store.h). Without shares nothing. What fails is logged: it costs time, not answers.
  void keep(const std::filesystem::path& folder, const Model& model) const;
  void remember(const std::filesystem::path& folder, const Model& model);

  // Blocks that are free, or held by the index alone.
  uint32_t count_free(Sequences running);
  // Of a sequence's blocks, those that would be free without it.
  uint32_t count_own(const Sequence& sequence) const;
  uint32_t n_known() const { return index_.n_blocks(); }
  uint64_t n_evicted() const { return index_.n_evicted(); }

 private:
  bool may_share(const Sequence& sequence) const {
    return shares_ && !sequence.reads_whole_prompt();
  }
  // Once `first` has computed the beginning that both share, this one need not.
  bool gains_by_waiting(const Sequence& sequence, const Sequence& first);
  // A running sequence is about to compute a block that this one could take over.
  bool awaits_twin(const Sequence& sequence, Sequences running) const;
  void copy_from_running(Sequence& sequence, uint32_t most, Sequences running);
  void drop_hidden(Sequence& sequence);
  KvBlockId acquire_block();
  bool make_room();

  KvCache& cache_;
  Backend& backend_;
  PrefixIndex index_;
  const bool shares_;
  const uint32_t window_;
  std::vector<bool> is_held_;  // scratch: one a block
};

}  // namespace tristill::engine
