// Document: a text to train on and which of it is to be learned. Plain data.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace tristill::train {

// So many bytes of a text, in order; a student reads those that are given, and learns the others.
struct TextPart {
  size_t bytes = 0;
  bool learned = false;
};

struct Document {
  std::string path;  // relative to the corpus; of a line "file.jsonl:17"
  std::string text;
  bool held_out = false;
  size_t file = 0;              // of its corpus
  std::vector<TextPart> parts;  // of a chat, ending with a learned one; empty: all is learned
};

}  // namespace tristill::train
