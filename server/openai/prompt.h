// Prompts: the forms they have in a body, and the tokens they are for one model. Plain functions;
// any thread.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "model/tokenizer/tokenizer.h"
#include "server/models/registry.h"
#include "server/openai/fields.h"

namespace tristill::openai {

// A piece of a prompt: text or token ids.
struct PromptPart {
  std::string text;  // used when is_text
  std::vector<TokenId> ids;
  bool is_text = true;
  std::string path = "prompt";  // where ids is in the body; of an id alone, the id
  bool is_element = false;      // an id alone in a mixed list

  // The path of ids[i], for errors: "prompt[3]".
  std::string path_of(size_t i) const {
    return is_element ? path : path + "[" + std::to_string(i) + "]";
  }
};
using Prompt = std::vector<PromptPart>;

constexpr size_t kMaxPrompts = 128;

// The field called name: a string, a list of strings, of token ids, of lists of ids, or of texts
// and ids mixed (then one prompt). Absent: one empty prompt, the start of a document.
void read_prompts(Fields& fields, const char* name, std::vector<Prompt>& prompts);

// Whether a text of so many bytes may fit the model's context: told before it is split, because
// to split megabytes that cannot fit would take seconds and gigabytes.
// Errors: invalid_argument, param "prompt", message "context_length: ...".
Result<void> check_bytes(size_t n_bytes, const models::ServedModel& served);

// Errors: as check_bytes; invalid_argument for an id outside the vocabulary, param its path.
// A prompt without tokens becomes the end of a document: that is where documents start.
Result<std::vector<TokenId>> tokens_of(const Prompt& prompt, const models::ServedModel& served);

}  // namespace tristill::openai
