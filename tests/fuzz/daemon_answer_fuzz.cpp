// Any bytes as what a daemon answers its client: metrics, an event stream, slots. What is drawn of
// them holds no control character, and an event stream says the same however it is cut.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "base/check.h"
#include "base/utf8.h"
#include "client/output.h"
#include "client/sse.h"
#include "client/top.h"

namespace {

namespace client = tristill::client;

std::vector<std::string> events_of(std::string_view text, size_t piece) {
  std::vector<std::string> events;
  client::SseParser parser;
  for (size_t at = 0; at < text.size(); at += piece) {
    parser.feed(text.substr(at, piece), [&](const client::SseEvent& event) {
      events.push_back(event.id + "|" + event.data);
      return true;
    });
  }
  return events;
}

bool is_quiet(std::string_view text) {
  return tristill::utf8_is_valid(text) && std::none_of(text.begin(), text.end(), [](char c) {
           return (static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t') || c == 0x7F;
         });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  client::Reading reading;
  reading.samples = client::parse_metrics(text);
  reading.slots = nlohmann::json::parse(text, nullptr, false);
  reading.models = {{"data", {{{"id", std::string(text.substr(0, 64))}}}}};
  const std::string title(text);
  CHECK(is_quiet(client::draw_load(client::load_of(reading, nullptr, nullptr), title, 80, 24)));
  CHECK(is_quiet(client::draw_load(client::load_of(reading, &reading, &reading), title, 80, 24)));
  for (const client::Sample& sample : reading.samples) {
    const client::Histogram histogram = client::histogram_of(reading.samples, sample.name);
    if (const auto value = client::quantile(histogram, 0.5)) CHECK(!std::isinf(*value));
    if (&sample - reading.samples.data() > 8) break;
  }
  CHECK(events_of(text, 1) == events_of(text, text.size() + 1));
  return 0;
}
