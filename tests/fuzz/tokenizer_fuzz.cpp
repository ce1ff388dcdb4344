// Any bytes as a SentencePiece model; what our check lets through must not abort the library.
#include <cstdint>

#include "model/tokenizer/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto tokenizer = tristill::Tokenizer::from_sentencepiece(bytes);
  if (!tokenizer) return 0;
  const auto ids = (*tokenizer)->encode("def f(x):\n\treturn \xff\xc3");
  (*tokenizer)->decode(ids);
  return 0;
}
