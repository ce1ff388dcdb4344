#include "train/data/packing.h"

#include <algorithm>

#include "base/check.h"
#include "train/data/fim.h"

namespace tristill::train {
namespace {

constexpr size_t kMinRoom = 16;  // a segment shorter than this is not worth starting
constexpr size_t kOpenDocuments = 128;  // of a source, at most
// Kept free for what turning adds: the control tokens, and pieces that a cut splits.
constexpr size_t kFimRoom = kFimControlTokens + 4;
static_assert(kMinRoom > kFimRoom);

// A chat that a whole row could hold does not start where it would be cut.
bool starts_here(const TokenSource& source, size_t document, size_t offset, size_t room,
                 size_t row) {
  if (offset > 0 || source.is_trace || !source.is_chat(document)) return true;
  const size_t length = source.starts[document + 1] - source.starts[document] - 1;
  return length <= room || length > row;
}

// Of an answer the prompt is no lesson, but for tokens of it that the teacher judged. Empty: every
// token is one.
std::vector<Lesson> lessons_of(const trace::Record& record) {
  if (record.sampling == trace::Sampling::corpus || record.prompt_tokens == 0) return {};
  std::vector<Lesson> lessons(record.tokens.size(), Lesson::token);
  for (size_t i = 0; i < lessons.size() && i < record.prompt_tokens; ++i) {
    const bool judged = i < record.top_logprobs.size() && !record.top_logprobs[i].empty();
    if (!judged) lessons[i] = Lesson::none;
  }
  return lessons;
}

// Whether anything is learned of it: nothing predicts the first token.
bool has_lesson(const EncodedDocument& document) {
  if (document.lessons.empty()) return document.tokens.size() > 1;
  return std::any_of(document.lessons.begin() + 1, document.lessons.end(),
                     [](Lesson lesson) { return lesson != Lesson::none; });
}

}  // namespace

void TokenSource::add_document(const Tokenizer& tokenizer, std::string_view text) {
  add(encode_document(tokenizer, {.text = std::string(text)}));
}

void TokenSource::add(const EncodedDocument& document) {
  if (!document.lessons.empty()) lessons.resize(tokens.size(), Lesson::token);
  lessons.insert(lessons.end(), document.lessons.begin(), document.lessons.end());
  tokens.insert(tokens.end(), document.tokens.begin(), document.tokens.end());
  if (!lessons.empty()) lessons.resize(tokens.size(), Lesson::token);
  starts.push_back(tokens.size());
}

void TokenSource::add_trace(const trace::Record& record) {
  is_trace = true;
  const EncodedDocument document{.tokens = record.tokens, .lessons = lessons_of(record)};
  if (!has_lesson(document)) return;
  add(document);
  for (const auto& list : record.top_logprobs) {
    for (const auto& entry : list) {
      top_ids.push_back(entry.token);
      top_logprobs.push_back(entry.logprob);
    }
    top_offsets.push_back(top_ids.size());
  }
  const bool draws = record.sampling == trace::Sampling::t1;
  for (size_t i = 0; i < record.tokens.size(); ++i) {
    drawn.push_back(draws && i >= record.prompt_tokens ? 1 : 0);
  }
}

void TokenSource::remove(const std::vector<uint8_t>& is_gone) {
  CHECK(is_gone.size() == documents());
  TokenSource kept;
  kept.name = name;
  kept.weight = weight;
  kept.is_trace = is_trace;
  const auto copy = [](const auto& from, size_t first, size_t end, auto& to) {
    if (from.empty()) return;
    to.insert(to.end(), from.begin() + static_cast<ptrdiff_t>(first),
              from.begin() + static_cast<ptrdiff_t>(end));
  };
  for (size_t d = 0; d < is_gone.size(); ++d) {
    if (is_gone[d] != 0) continue;
    const size_t first = starts[d], end = starts[d + 1];
    copy(tokens, first, end, kept.tokens);
    copy(lessons, first, end, kept.lessons);
    copy(drawn, first, end, kept.drawn);
    for (size_t i = first; is_trace && i < end; ++i) {
      copy(top_ids, top_offsets[i], top_offsets[i + 1], kept.top_ids);
      copy(top_logprobs, top_offsets[i], top_offsets[i + 1], kept.top_logprobs);
      kept.top_offsets.push_back(kept.top_ids.size());
    }
    kept.starts.push_back(kept.tokens.size());
  }
  *this = std::move(kept);
}

std::vector<int64_t> Cursor::to_numbers() const {
  std::vector<int64_t> numbers = {draws};
  for (const Place& place : places) {
    numbers.insert(numbers.end(),
                   {place.epoch, place.next, static_cast<int64_t>(place.open.size())});
    for (const Open& open : place.open) {
      numbers.insert(numbers.end(), {open.document, open.offset});
    }
  }
  return numbers;
}

Result<Cursor> Cursor::from_numbers(const std::vector<int64_t>& numbers, size_t sources) {
  const Error other{ErrorCode::corrupt, "checkpoint was made with other data sources",
                    "checkpoint"};
  std::span<const int64_t> left = numbers;
  const auto take = [&] {
    const int64_t number = left.front();
    left = left.subspan(1);
    return number;
  };
  if (left.empty()) return other;
  Cursor cursor;
  cursor.draws = take();
  for (size_t i = 0; i < sources; ++i) {
    if (left.size() < 3) return other;
    Place place{take(), take(), {}};
    const auto n_open = static_cast<size_t>(take());
    if (n_open > left.size() / 2) return other;
    for (size_t j = 0; j < n_open; ++j) place.open.push_back({take(), take()});
    cursor.places.push_back(std::move(place));
  }
  if (!left.empty()) return other;
  return cursor;
}

int64_t BatchStream::Segment::n_labels() const {
  if (lessons.empty()) return static_cast<int64_t>(tokens.size()) - 1;
  return std::count_if(lessons.begin() + 1, lessons.end(),
                       [](Lesson lesson) { return lesson != Lesson::none; });
}

BatchStream::Segment BatchStream::piece_of(const TokenSource& source, size_t first, size_t n) {
  const auto begin = source.tokens.begin() + static_cast<ptrdiff_t>(first);
  Segment segment{{begin, begin + static_cast<ptrdiff_t>(n)}, &source, first};
  if (!source.lessons.empty()) segment.lessons = std::span(source.lessons).subspan(first, n);
  return segment;
}

// The tensors of one batch while they are filled.
struct BatchStream::Rows {
  Rows(int64_t n_rows, int64_t row_tokens, TokenId padding)
      : n_tokens(row_tokens),
        tokens(at::full({n_rows, row_tokens}, padding, at::kLong)),
        labels(at::full({n_rows, row_tokens}, kNoLabel, at::kLong)),
        segment_start(at::empty({n_rows, row_tokens}, at::kInt)) {}

  // Puts tokens[0 .. n-2] at column; each predicts its successor, or what the lesson says. Rows
  // must be filled in order.
  void put(int64_t row, int64_t column, const Segment& segment, const Tokenizer& tokenizer) {
    const auto n_inputs = static_cast<int64_t>(segment.tokens.size()) - 1;
    const int64_t base = row * n_tokens + column;
    for (int64_t i = 0; i < n_inputs; ++i) {
      const auto next = static_cast<size_t>(i + 1);
      tokens.data_ptr<int64_t>()[base + i] = segment.tokens[next - 1];
      segment_start.data_ptr<int32_t>()[base + i] = static_cast<int32_t>(column);
      const Lesson lesson = segment.lessons.empty() ? Lesson::token : segment.lessons[next];
      if (lesson == Lesson::none) continue;
      const TokenId label = lesson == Lesson::end ? tokenizer.special().eos : segment.tokens[next];
      labels.data_ptr<int64_t>()[base + i] = label;
      bytes += static_cast<int64_t>(tokenizer.bytes_of(label).size());
      if (segment.source->is_trace) teach(base + i, *segment.source, segment.first + next);
    }
  }

  void teach(int64_t flat, const TokenSource& source, size_t token) {
    const size_t from = source.top_offsets[token];
    const size_t count = source.top_offsets[token + 1] - from;
    teacher.add(flat, {source.top_ids.data() + from, count},
                {source.top_logprobs.data() + from, count}, source.drawn[token] != 0);
  }

  // The rest of a row is padding: a segment of its own, without labels.
  void pad(int64_t row, int64_t column) {
    for (int64_t i = column; i < n_tokens; ++i) {
      segment_start.data_ptr<int32_t>()[row * n_tokens + i] = static_cast<int32_t>(column);
    }
  }

  Batch finish() && {
    return {std::move(tokens), std::move(labels), std::move(segment_start), std::move(teacher),
            bytes};
  }

  int64_t n_tokens;
  torch::Tensor tokens, labels, segment_start;
  TeacherTargets teacher;
  int64_t bytes = 0;
};

BatchStream::BatchStream(std::vector<TokenSource> sources,
                         std::shared_ptr<const Tokenizer> tokenizer, const PackingOptions& options)
    : tokenizer_(std::move(tokenizer)), options_(options), random_(options.seed, 1) {
  for (TokenSource& source : sources) {
    if (source.documents() > 0) sources_.push_back(std::move(source));
  }
  CHECK(!sources_.empty());
  cursor_.places.resize(sources_.size());
  order_.resize(sources_.size());
  for (size_t i = 0; i < sources_.size(); ++i) {
    shuffle(i);
    const size_t n_open = std::min(kOpenDocuments, sources_[i].documents());
    for (size_t j = 0; j < n_open; ++j) cursor_.places[i].open.push_back(open_next(i));
  }
}

uint64_t BatchStream::total_tokens() const {
  uint64_t total = 0;
  for (const TokenSource& source : sources_) total += source.tokens.size();
  return total;
}

void BatchStream::shuffle(size_t source) {
  auto& order = order_[source];
  order.resize(sources_[source].documents());
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<uint32_t>(i);
  const auto epoch = static_cast<uint64_t>(cursor_.places[source].epoch);
  RandomStream random(options_.seed, (source + 2) << 32 | epoch);
  for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.below(i)]);
}

Cursor::Open BatchStream::open_next(size_t source) {
  Cursor::Place& place = cursor_.places[source];
  if (place.next == static_cast<int64_t>(order_[source].size())) {
    place.next = 0;
    ++place.epoch;
    shuffle(source);
  }
  return {order_[source][static_cast<size_t>(place.next++)], 0};
}

size_t BatchStream::choose_source() {
  double total = 0;
  for (const TokenSource& source : sources_) total += source.weight;
  double at = random_.uniform() * total;
  for (size_t i = 0; i + 1 < sources_.size(); ++i) {
    at -= sources_[i].weight;
    if (at < 0) return i;
  }
  return sources_.size() - 1;
}

// What comes next of an open document; another one is opened where that was its end.
BatchStream::Segment BatchStream::next_segment(size_t source_index, Cursor::Open& open,
                                               size_t room) {
  const TokenSource& source = sources_[source_index];
  const auto document = static_cast<size_t>(open.document);
  const size_t first = source.starts[document] + static_cast<size_t>(open.offset);
  const size_t end = source.starts[document + 1];
  const bool turns = !source.is_trace && !source.is_chat(document) &&
                     tokenizer_->special().has_fim() && random_.uniform() < options_.fim_rate;
  const size_t n = std::min(room + 1 - (turns ? kFimRoom : 0), end - first);
  Segment segment = piece_of(source, first, n);
  if (turns) {
    const auto order = random_.uniform() < options_.spm_rate ? FimOrder::spm : FimOrder::psm;
    const auto text = tokenizer_->decode(segment.tokens);
    auto turned = fim_tokens(*tokenizer_, text, order, room + 1, random_);
    if (!turned.empty()) segment = {std::move(turned), &source, first};
  }
  // The last token taken starts the next segment, so that every token is predicted once.
  if (first + n < end) open.offset += static_cast<int64_t>(n) - 1;
  else open = open_next(source_index);
  return segment;
}

void BatchStream::fill_row(int64_t row, Rows& rows) {
  const size_t source = choose_source();
  std::vector<Cursor::Open>& all_open = cursor_.places[source].open;
  const auto n_tokens = static_cast<size_t>(options_.tokens);
  int64_t column = 0;
  while (n_tokens - static_cast<size_t>(column) >= kMinRoom) {
    const size_t room = n_tokens - static_cast<size_t>(column);
    Cursor::Open& open = all_open[random_.below(all_open.size())];
    if (!starts_here(sources_[source], static_cast<size_t>(open.document),
                     static_cast<size_t>(open.offset), room, n_tokens)) {
      break;
    }
    const Segment segment = next_segment(source, open, room);
    // Every document has a lesson behind its first token, so this ends too.
    if (segment.tokens.size() < 2 || segment.n_labels() == 0) continue;
    rows.put(row, column, segment, *tokenizer_);
    column += static_cast<int64_t>(segment.tokens.size()) - 1;
  }
  rows.pad(row, column);
}

Batch BatchStream::next() {
  Rows rows(options_.rows, options_.tokens, tokenizer_->special().eos);
  for (int64_t row = 0; row < options_.rows; ++row) fill_row(row, rows);
  return std::move(rows).finish();
}

Cursor BatchStream::cursor() const {
  Cursor cursor = cursor_;
  cursor.draws = static_cast<int64_t>(random_.counter());
  return cursor;
}

bool BatchStream::has(const Cursor& cursor) const {
  if (cursor.places.size() != sources_.size()) return false;
  for (size_t i = 0; i < sources_.size(); ++i) {
    const TokenSource& source = sources_[i];
    const auto n = static_cast<int64_t>(source.documents());
    const auto& [epoch, next, all_open] = cursor.places[i];
    if (epoch < 0 || next < 0 || next > n || all_open.empty()) return false;
    for (const auto& [document, offset] : all_open) {
      if (document < 0 || document >= n) return false;
      const auto at = static_cast<size_t>(document);
      const auto length = static_cast<int64_t>(source.starts[at + 1] - source.starts[at]);
      if (offset < 0 || (offset > 0 && offset >= length)) return false;
    }
  }
  return true;
}

void BatchStream::seek(const Cursor& cursor) {
  CHECK(has(cursor));
  cursor_ = cursor;
  random_ = RandomStream(options_.seed, 1, static_cast<uint64_t>(cursor.draws));
  for (size_t i = 0; i < sources_.size(); ++i) shuffle(i);
}

// A place in the documents of one source that are taken once, in order.
struct BatchStream::Walk {
  const TokenSource& source;
  size_t document = 0, offset = 0;
  uint64_t labelled = 0;

  bool ended() const { return document >= source.documents(); }
  bool fits(size_t room, size_t row) const {
    return starts_here(source, document, offset, room, row);
  }
  Segment next(size_t room) {
    const size_t first = source.starts[document] + offset;
    const size_t end = source.starts[document + 1];
    const size_t n = std::min(room + 1, end - first);
    offset += n - 1;
    if (first + n == end) {
      ++document;
      offset = 0;
    }
    Segment segment = piece_of(source, first, n);
    labelled += static_cast<uint64_t>(segment.n_labels());
    return segment;
  }
};

std::vector<Batch> evaluation_batches(const TokenSource& source, const Tokenizer& tokenizer,
                                      int64_t rows, int64_t tokens, uint64_t max_tokens) {
  std::vector<Batch> batches;
  BatchStream::Walk walk{source};
  const auto goes_on = [&] { return !walk.ended() && walk.labelled < max_tokens; };
  while (goes_on()) {
    BatchStream::Rows batch(rows, tokens, tokenizer.special().eos);
    for (int64_t row = 0; row < rows; ++row) {
      int64_t column = 0;
      while (tokens - column >= static_cast<int64_t>(kMinRoom) && goes_on()) {
        const auto room = static_cast<size_t>(tokens - column);
        if (!walk.fits(room, static_cast<size_t>(tokens))) break;
        const auto segment = walk.next(room);
        if (segment.n_labels() == 0) continue;
        batch.put(row, column, segment, tokenizer);
        column += static_cast<int64_t>(segment.tokens.size()) - 1;
      }
      batch.pad(row, column);
    }
    batches.push_back(std::move(batch).finish());
  }
  return batches;
}

}  // namespace tristill::train
