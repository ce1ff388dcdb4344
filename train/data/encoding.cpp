#include "train/data/encoding.h"

#include <algorithm>
#include <atomic>
#include <string_view>

namespace tristill::train {
namespace {

constexpr size_t kPassDocuments = 1024;  // in one turn of the team, so that progress is told

EncodedDocument encode_chat(const Tokenizer& tokenizer, const Document& document) {
  EncodedDocument out;
  std::string_view rest = document.text;
  bool answered = false;
  for (const TextPart& part : document.parts) {
    const auto ids = tokenizer.encode(rest.substr(0, part.bytes));
    rest.remove_prefix(std::min(part.bytes, rest.size()));
    const size_t first = out.tokens.size();
    out.tokens.insert(out.tokens.end(), ids.begin(), ids.end());
    out.lessons.resize(out.tokens.size(), part.learned ? Lesson::token : Lesson::none);
    if (answered && !part.learned && !ids.empty()) out.lessons[first] = Lesson::end;
    answered = part.learned;
  }
  out.tokens.push_back(tokenizer.special().eos);
  out.lessons.push_back(Lesson::token);
  return out;
}

}  // namespace

EncodedDocument encode_document(const Tokenizer& tokenizer, const Document& document) {
  if (!document.parts.empty()) return encode_chat(tokenizer, document);
  const TokenId eos = tokenizer.special().eos;
  const auto ids = tokenizer.encode(document.text);
  EncodedDocument out;
  out.tokens.reserve(ids.size() + 2);
  out.tokens.push_back(eos);
  out.tokens.insert(out.tokens.end(), ids.begin(), ids.end());
  out.tokens.push_back(eos);
  return out;
}

std::vector<EncodedDocument> encode_documents(
    const Tokenizer& tokenizer, const std::vector<Document>& documents, ThreadTeam& team,
    const std::function<void(uint64_t bytes)>& on_encoded) {
  std::vector<EncodedDocument> out(documents.size());
  for (size_t first = 0; first < documents.size(); first += kPassDocuments) {
    const size_t n = std::min(kPassDocuments, documents.size() - first);
    std::atomic<uint64_t> bytes{0};
    // A document a part: which thread takes which does not show.
    team.run(static_cast<uint32_t>(n), [&](uint32_t part, uint32_t thread) {
      const Document& document = documents[first + part];
      out[first + part] = encode_document(tokenizer, document);
      bytes += document.text.size();
      if (thread == 0) on_encoded(bytes.exchange(0));
    });
    on_encoded(bytes.exchange(0));
  }
  return out;
}

}  // namespace tristill::train
