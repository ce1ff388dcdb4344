// DraftModel: a smaller model guesses how the texts of an engine's sequences go on, for the engine
// to verify in one step (Leviathan et al. 2023, arXiv 2211.17192; here greedy guesses, verified by
// equality, so that the output stays the same). It has a cache of its own. The engine's thread.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "model/backend.h"
#include "model/kv_cache.h"
#include "model/threads.h"
#include "model/weights.h"

namespace tristill::engine {

struct Sequence;

// What the draft model has of a sequence.
struct DraftedText {
  std::vector<TokenId> tokens;  // the sequence's, then guesses
  uint32_t n_confirmed = 0;     // of them, the sequence's own
  uint32_t n_computed = 0;      // of them, in the cache
  std::vector<KvBlockId> blocks;
};

class DraftModel {
 public:
  // The vocabulary is the engine's model's. The team outlives this.
  DraftModel(std::shared_ptr<const Model> model, Device device, KvFormat format, uint32_t n_blocks,
             ThreadTeam& team);

  struct Wanted {
    Sequence* sequence;
    uint32_t most;  // tokens
  };
  // Appends to each sequence's guess; nothing while a long text is still being read, or where the
  // cache or the context ends. Takes turns of the team.
  void guess(std::span<const Wanted> wanted);
  // Forgets a sequence.
  void release(Sequence& sequence);

 private:
  struct Drafting {
    Sequence* sequence;
    uint32_t most;
    bool caught_up;  // the last forward pass ended at its text's end
    uint32_t row;  // of its last token in that pass
  };

  bool follow(Sequence& sequence, uint32_t most);
  void forward();
  void take_greatest();

  const std::shared_ptr<const Model> model_;
  ThreadTeam& team_;
  KvCache cache_;
  const std::unique_ptr<Backend> backend_;
  std::vector<Drafting> drafting_;
  std::vector<Segment> segments_;
  std::vector<uint32_t> rows_;
};

}  // namespace tristill::engine
