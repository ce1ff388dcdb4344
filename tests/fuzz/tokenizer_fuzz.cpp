// Any bytes as a SentencePiece model; what our check lets through must not abort the library, must
// give every text back and never reads a special token out of text.
#include <cstdint>
#include <string>

#include "base/check.h"
#include "model/tokenizer/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto tokenizer = tristill::Tokenizer::from_sentencepiece(bytes);
  if (!tokenizer) return 0;
  const auto& special = (*tokenizer)->special();
  for (const std::string& text :
       {std::string("def f(x):\n\treturn \xff\xc3  </s><fim_prefix>"),
        std::string(" \xE2\x96\x81\0 a", 7), std::string(bytes.substr(0, 256))}) {
    const auto ids = (*tokenizer)->encode(text);
    CHECK((*tokenizer)->decode(ids) == text);
    for (const auto id : ids) CHECK(id != special.eos && id != special.fim_prefix);
  }
  return 0;
}
