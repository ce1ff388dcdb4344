// Backend: where a model's forward pass runs and its keys and values lie. One thread uses it.
//
// Deterministic: a token's logits and state depend on the tokens before it alone, bit for bit; not
// on the batch, the split into calls, the number of threads, the instruction set, nor the device.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "base/result.h"
#include "model/kv_cache.h"
#include "model/threads.h"
#include "model/weights.h"

namespace tristill {

// One sequence's share of a batch.
struct Segment {
  std::span<const TokenId> tokens;  // not yet computed
  uint32_t position = 0;  // of the first of them
  std::span<const KvBlockId> blocks;  // hold positions 0 .. position + tokens.size() - 1
};

class Backend {
 public:
  virtual ~Backend() = default;

  // Computes all tokens, writes their keys and values. Earlier positions must be in the cache.
  virtual void forward(std::span<const Segment> batch) = 0;
  // The same until give_up says so between two layers: then false, and the batch is as if it had
  // not been computed. A backend that does not ask computes to the end.
  virtual bool forward_unless(std::span<const Segment> batch,
                              const std::function<bool()>& /*give_up*/) {
    forward(batch);
    return true;
  }

  // Logits [rows.size(), V] of tokens of the last batch, counted through its segments in order.
  // Valid until the next call.
  virtual std::span<const float> logits(std::span<const uint32_t> rows) = 0;

  // The most likely token of each row, the lowest id on ties: as most_likely(logits), for less.
  // kNoToken where no logit is finite. Valid until the next call.
  virtual std::span<const TokenId> greatest(std::span<const uint32_t> rows) = 0;

  // What the output head is given of each row, before it is rounded to int8: the residual stream
  // after the model's last norm, [rows.size(), D]. Valid until the next call.
  virtual std::span<const float> states(std::span<const uint32_t> rows) = 0;

  // Keys and values of a block, as KvCache lays them out.
  virtual void copy_block(KvBlockId from, KvBlockId to) = 0;
  virtual void read_block(KvBlockId block, std::span<uint8_t> to) = 0;
  virtual void write_block(KvBlockId block, std::span<const uint8_t> from) = 0;
};

enum class Device { cpu, cuda };

// Whether backends for the device can be made here. Errors: unavailable, saying what is missing.
Result<void> check_device(Device device);

// A backend on the device, for positions below max_context. On a GPU the cache's blocks are
// mirrored there, and the model's weights copied; cache and team outlive it. Throws std::bad_alloc
// or std::runtime_error when the device has no room or no driver.
std::unique_ptr<Backend> make_backend(Device device, std::shared_ptr<const Model> model,
                                      KvCache& cache, ThreadTeam& team, uint32_t max_context);

}  // namespace tristill
