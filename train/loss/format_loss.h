// loss.format_weight: more weight on the tokens that make the structure of JSON, which a text has
// few of and which a parser forgives least. Pure; any thread.
//
//   format = mean of -log q_y over the labels y that are tokens of structure and not the student's
//            own words; 0 without any
//   added to the mean loss: format_weight * format
//
// A token is one of structure when its bytes hold one of loss.format_characters or a code fence of
// three backticks. Asked of the student's own tokens, so it holds for every teacher.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "model/tokenizer/tokenizer.h"

namespace tristill::train {

// One a token of the model's vocabulary (at least the tokenizer's): 1 for structure.
std::vector<uint8_t> structural_tokens(const Tokenizer& tokenizer, size_t vocab_size,
                                       std::string_view characters);

}  // namespace tristill::train
