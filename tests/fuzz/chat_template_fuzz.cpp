// Any text as a chat template, rendered on a conversation: it ends within its limits, by text or by
// an error that says why, and what the messages say stays marked as theirs.
#include <cstdint>

#include "base/check.h"
#include "base/utf8.h"
#include "server/chat/chat_template.h"
#include "server/chat/json_value.h"

namespace {

using namespace tristill;

constexpr jinja::Limits kLimits{.steps = 20000, .bytes = 1 << 20, .output_bytes = 1 << 18};

// Of letters that no template of ours writes and no filter makes of others.
constexpr std::string_view kMark = "\xE2\x82\xAC\xE2\x82\xAC";

jinja::Variables variables() {
  const auto messages =
      nlohmann::ordered_json::parse(R"([{"role":"system","content":"\u20ac\u20ac "},)"
                                    R"({"role":"user","content":"a\n\u20ac\u20acb"},)"
                                    R"({"role":"assistant","content":null,)"
                                    R"("tool_calls":[{"function":{"name":"\u20ac\u20ac"}}]}])");
  jinja::Variables given;
  given["messages"] = chat::to_value(messages);
  given["add_generation_prompt"] = true;
  given["bos_token"] = jinja::make_text("<s>", jinja::Origin::written);
  return given;
}

void check_origins(const jinja::Text& text) {
  size_t begin = 0;
  for (const auto& run : text.runs()) {
    CHECK(run.end > begin && run.end <= text.size());
    if (run.origin == jinja::Origin::written) {
      const auto bytes = std::string_view(text.bytes()).substr(begin, run.end - begin);
      CHECK(bytes.find(kMark) == std::string_view::npos);
    }
    begin = run.end;
  }
  CHECK(begin == text.size());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view source(reinterpret_cast<const char*>(data), size);
  const auto parsed = jinja::Template::parse(source);
  if (!parsed) {
    CHECK(!parsed.error().message.empty());
    return 0;
  }
  const auto text = (*parsed)->render(variables(), {}, kLimits);
  if (!text) return 0;
  CHECK(text->size() <= kLimits.output_bytes);
  CHECK(utf8_is_valid(text->bytes()));
  const bool is_written_there = source.find(kMark) != std::string_view::npos ||
                                source.find('\\') != std::string_view::npos ||
                                source.find("\xE2\x82\xAC") != std::string_view::npos;
  if (!is_written_there) check_origins(*text);
  return 0;
}
