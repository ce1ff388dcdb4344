// Any text as a body with a JSON Schema, and as a grammar in GBNF: what is accepted can be
// followed, and whatever it lets come is taken.
#include <cmath>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/check.h"
#include "model/grammar/gbnf.h"
#include "model/grammar/grammar_state.h"
#include "server/openai/response_format.h"
#include "tests/model/listed_tokens.h"

namespace {

using namespace tristill;

// Printable bytes, a line break, and the bytes of two characters beyond ASCII.
std::shared_ptr<const Tokenizer> few_bytes() {
  std::vector<std::string> tokens;
  for (char c = ' '; c <= '~'; ++c) tokens.emplace_back(1, c);
  for (const char* token :
       {"\n", "\xC3", "\xA9", "\xF0\x9F\x98\x80", "\",\"", "\":", "{\"", "}]"}) {
    tokens.emplace_back(token);
  }
  return std::make_shared<ListedTokens>(std::move(tokens));
}

// Writes a text that the choices lead to. Only following it may be refused, as too costly.
void follow(const std::shared_ptr<const Grammar>& grammar, const uint8_t* choices, size_t n) try {
  static const auto trie = std::make_shared<TokenTrie>(few_bytes());
  GrammarState state(grammar, trie, {});
  std::vector<float> logits;
  for (size_t i = 0; i < std::min<size_t>(n, 40); ++i) {
    logits.assign(trie->vocab_size(), 0.0F);
    const bool any = state.mask(logits);
    CHECK(!state.must_end() || !any);
    if (!any) return;  // bytes that this vocabulary lacks
    size_t token = choices[i] % logits.size();
    while (logits[token] != 0.0F) token = (token + 1) % logits.size();
    CHECK(state.allows(static_cast<TokenId>(token)) && state.accept(static_cast<TokenId>(token)));
  }
} catch (const Defect&) {
  throw;
} catch (const std::runtime_error&) {}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto gbnf = read_gbnf(text);
  if (gbnf) follow(*gbnf, data, size);
  else CHECK(!gbnf.error().message.empty());
  const auto body = openai::parse_object(text);
  if (!body) return 0;
  openai::Fields fields(*body);
  const auto form = openai::read_output_form(fields, text);
  CHECK(form == nullptr || !fields.error());
  if (form != nullptr) follow(form, data, size);
  return 0;
}
