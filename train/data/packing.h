// Packing: documents and traces -> batches of full rows, without loss or attention across
// documents. A row is filled with segments; each segment predicts its own next tokens only. Many
// documents are open at once, and a segment goes on with one of them at random: the rows of a batch
// are then of as many documents, and a long one does not make up batches of its own.
// A chat is cut only where a row of its own could not hold it, and is never turned to
// fill-in-the-middle. Fill-in-the-middle is at the level of the context (Bavarian et al. 2022,
// section 4): a document is first cut to the room in the row, then that piece is turned, so that no
// example is cut by a row's end. The whole position in the data is a Cursor, so that a resumed run
// sees the same batches.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/random.h"
#include "model/tokenizer/tokenizer.h"
#include "train/data/encoding.h"
#include "train/student/student.h"
#include "train/trace/record.h"

namespace tristill::train {

// Tokenised documents of one source, in flat storage; traces also carry teacher distributions.
struct TokenSource {
  std::string name;
  double weight = 1.0;
  bool is_trace = false;
  std::vector<TokenId> tokens;
  std::vector<size_t> starts = {0};  // document i is tokens[starts[i], starts[i + 1])
  std::vector<Lesson> lessons;  // one a token once there is a chat; empty: all Lesson::token
  std::vector<size_t> top_offsets = {0};  // traces: of token j in top_ids and top_logprobs
  std::vector<int32_t> top_ids;
  std::vector<float> top_logprobs;
  std::vector<uint8_t> drawn;  // traces: of token j, whether the teacher drew it at temperature 1

  size_t documents() const { return starts.size() - 1; }
  // A chat, or an answer to a prompt, begins with what is given, a text with what is not.
  bool is_chat(size_t document) const {
    return !lessons.empty() && lessons[starts[document]] == Lesson::none;
  }
  void add(const EncodedDocument& document);
  // Adds a text, as encode_document does.
  void add_document(const Tokenizer& tokenizer, std::string_view text);
  // One that nothing is learned of is left out.
  void add_trace(const trace::Record& record);
  // is_gone: one a document.
  void remove(const std::vector<uint8_t>& is_gone);
};

struct PackingOptions {
  int64_t rows = 16;
  int64_t tokens = 512;  // T
  double fim_rate = 0.5;
  double spm_rate = 0.5;
  uint64_t seed = 1;
};

// Where a run stands in its data.
struct Cursor {
  struct Open {
    int64_t document = 0, offset = 0;  // of the next token in it
  };
  struct Place {
    int64_t epoch = 0, next = 0;  // in the epoch's order: the next document to be opened
    std::vector<Open> open;
  };
  std::vector<Place> places;  // one a source
  int64_t draws = 0;  // random numbers used

  std::vector<int64_t> to_numbers() const;
  // Errors: corrupt when they are not of so many sources.
  static Result<Cursor> from_numbers(const std::vector<int64_t>& numbers, size_t sources);
};

class BatchStream {
 public:
  // Sources that are empty are passed over; CHECKs that one is not.
  BatchStream(std::vector<TokenSource> sources, std::shared_ptr<const Tokenizer> tokenizer,
              const PackingOptions& options);

  // Goes on for ever: sources repeat, shuffled anew each epoch.
  Batch next();

  Cursor cursor() const;
  // Whether the sources have such a place: they may be others than when the cursor was taken.
  bool has(const Cursor& cursor) const;
  void seek(const Cursor& cursor);
  uint64_t total_tokens() const;
  size_t sources() const { return sources_.size(); }

 private:
  friend std::vector<Batch> evaluation_batches(const TokenSource&, const Tokenizer&, int64_t,
                                               int64_t, uint64_t);
  struct Segment {
    std::vector<TokenId> tokens;
    const TokenSource* source = nullptr;
    size_t first = 0;  // of tokens in the source, for teacher distributions
    std::span<const Lesson> lessons = {};  // one a token; empty: all Lesson::token

    int64_t n_labels() const;  // how many of its tokens are learned or end an answer
  };
  struct Rows;
  struct Walk;
  static Segment piece_of(const TokenSource& source, size_t first, size_t n);
  size_t choose_source();
  Segment next_segment(size_t source, Cursor::Open& open, size_t room);
  Cursor::Open open_next(size_t source);
  void shuffle(size_t source);
  void fill_row(int64_t row, Rows& rows);

  std::vector<TokenSource> sources_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  PackingOptions options_;
  Cursor cursor_;
  std::vector<std::vector<uint32_t>> order_;  // of documents in the current epoch, one a source
  RandomStream random_;
};

// The documents once, in order, without fill-in-the-middle; rows are padded at the end.
// At most max_tokens labelled tokens.
std::vector<Batch> evaluation_batches(const TokenSource& source, const Tokenizer& tokenizer,
                                      int64_t rows, int64_t tokens, uint64_t max_tokens);

}  // namespace tristill::train
