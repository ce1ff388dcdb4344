// Prefetch: a BatchStream that packs its next batch on a thread of its own while a step computes
// with the one before. The batches, their order and the cursor are the stream's: what is packed
// ahead was not taken yet, so a checkpoint never knows of it. Trainer's thread only.
#pragma once

#include <future>

#include "train/data/packing.h"

namespace tristill::train {

class Prefetch {
 public:
  // Packs nothing before the first next().
  explicit Prefetch(BatchStream stream);
  // Waits for the batch being packed.
  ~Prefetch();
  Prefetch(const Prefetch&) = delete;
  Prefetch& operator=(const Prefetch&) = delete;

  // The stream's next batch; the one after it is then being packed. Throws what packing threw,
  // and stands afterwards where it stood before: the next call tries the same batch again.
  Batch next();

  // The place after the batch that was last taken.
  const Cursor& cursor() const { return cursor_; }
  bool has(const Cursor& cursor) const { return stream_.has(cursor); }
  // Discards what was packed ahead.
  void seek(const Cursor& cursor);

  size_t sources() const { return sources_; }

 private:
  struct Packed {
    Batch batch;
    Cursor end;
  };
  void pack_ahead();

  // The other thread's while ahead_ is valid; else it may stand anywhere.
  BatchStream stream_;
  size_t sources_;
  Cursor cursor_;
  std::future<Packed> ahead_;
};

}  // namespace tristill::train
