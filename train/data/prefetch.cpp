#include "train/data/prefetch.h"

#include <utility>

#include "base/check.h"

namespace tristill::train {

Prefetch::Prefetch(BatchStream stream)
    : stream_(std::move(stream)), sources_(stream_.sources()), cursor_(stream_.cursor()) {}

Prefetch::~Prefetch() {
  if (ahead_.valid()) ahead_.wait();
}

void Prefetch::pack_ahead() {
  ahead_ = std::async(std::launch::async, [this] {
    Batch batch = stream_.next();
    return Packed{std::move(batch), stream_.cursor()};
  });
}

Batch Prefetch::next() {
  if (!ahead_.valid()) {
    stream_.seek(cursor_);
    pack_ahead();
  }
  Packed packed = ahead_.get();
  cursor_ = std::move(packed.end);
  pack_ahead();
  return std::move(packed.batch);
}

void Prefetch::seek(const Cursor& cursor) {
  CHECK(has(cursor));
  if (ahead_.valid()) ahead_.wait();
  ahead_ = {};
  cursor_ = cursor;
}

}  // namespace tristill::train
