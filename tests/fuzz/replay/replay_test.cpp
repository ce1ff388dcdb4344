// Every fuzz target on whole inputs and on thousands of mutations of them, the same ones each time.
// A target fails by CHECK, by another exception or by ending the process.
#include <gtest/gtest.h>
#include <stdlib.h>

#include <cstdint>
#include <cstring>
#include <filesystem>

#include "base/atomic_file.h"
#include "base/random.h"
#include "model/format/gguf_writer.h"
#include "tests/support/test_model.h"
#include "train/convert/zip_archive.h"
#include "train/job/event.h"
#include "train/job/spec.h"
#include "train/trace/jsonl.h"
#include "train/trace/shard.h"

extern "C" {
int chat_template_fuzz(const uint8_t* data, size_t size);
int completion_request_fuzz(const uint8_t* data, size_t size);
int daemon_answer_fuzz(const uint8_t* data, size_t size);
int event_fuzz(const uint8_t* data, size_t size);
int gguf_fuzz(const uint8_t* data, size_t size);
int http_fuzz(const uint8_t* data, size_t size);
int model_file_fuzz(const uint8_t* data, size_t size);
int output_form_fuzz(const uint8_t* data, size_t size);
int sample_fuzz(const uint8_t* data, size_t size);
int tokenizer_fuzz(const uint8_t* data, size_t size);
int trace_record_fuzz(const uint8_t* data, size_t size);
int trace_shard_fuzz(const uint8_t* data, size_t size);
int safetensors_fuzz(const uint8_t* data, size_t size);
int torch_checkpoint_fuzz(const uint8_t* data, size_t size);
int train_spec_fuzz(const uint8_t* data, size_t size);
}

namespace tristill {
namespace {

namespace fs = std::filesystem;
using Target = int (*)(const uint8_t*, size_t);

constexpr uint64_t kSeed = 20;

// Lengths, counts and signs that break careless arithmetic; JSON's own bytes.
constexpr uint64_t kNumbers[] = {0,          1,          0x7F,       0xFF,
                                 0xFFFF,     1ULL << 16, 1ULL << 31, 0xFFFFFFFFULL,
                                 1ULL << 32, 1ULL << 61, 1ULL << 63, ~0ULL};
constexpr std::string_view kSnippets[] = {"{", "[", "]", "\"", "\\", "null", "-1", "1e999", "\xFF"};

void mutate(std::string& bytes, RandomStream& random) {
  const size_t at = random.below(bytes.size() + 1);
  const size_t left = bytes.size() - at;
  switch (random.below(7)) {
    case 0:
      if (left > 0) bytes[at] = static_cast<char>(random.below(256));
      break;
    case 1:
      if (left > 0) bytes[at] = static_cast<char>(bytes[at] ^ (1 << random.below(8)));
      break;
    case 2: {
      const uint64_t number = kNumbers[random.below(std::size(kNumbers))];
      const size_t width = size_t{1} << random.below(4);
      std::memcpy(bytes.data() + at, &number, std::min(width, left));
      break;
    }
    case 3: bytes.resize(at); break;
    case 4: bytes.erase(at, random.below(64)); break;
    case 5: bytes.insert(at, bytes.substr(random.below(bytes.size() + 1), random.below(64))); break;
    default: bytes.insert(at, kSnippets[random.below(std::size(kSnippets))]); break;
  }
}

void replay(Target target, const std::string& whole, int rounds) {
  for (int round = 0; round <= rounds; ++round) {
    std::string bytes = whole;
    RandomStream random(kSeed, static_cast<uint64_t>(round));
    // Round 0 is the whole input; most mutations touch the head, where formats keep their lengths.
    for (uint64_t n = round == 0 ? 0 : 1 + random.below(4); n > 0; --n) {
      std::string head = bytes.substr(0, random.below(2) == 0 ? 4096 : std::string::npos);
      const size_t taken = head.size();
      mutate(head, random);
      bytes.replace(0, taken, head);
    }
    ASSERT_NO_THROW(target(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()))
        << "seed " << kSeed << ", round " << round;
  }
}

class Replay : public ::testing::Test {
 protected:
  Replay() {
    std::string name = (fs::temp_directory_path() / "tristill-replay-XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
  }
  ~Replay() override { fs::remove_all(folder_); }
  fs::path folder_;
};

trace::Record record() {
  return {.tokenizer = std::string(64, 'a'),
          .teacher = "t",
          .sampling = trace::Sampling::t1,
          .prompt_tokens = 1,
          .tokens = {5, 6, 7},
          .top_logprobs = {{}, {{6, -0.5F}, {9, -1.5F}}, {{7, -0.25F}}}};
}

TEST_F(Replay, Gguf) {
  GgufWriter out;
  out.add_text("general.architecture", "x");
  out.add_texts("texts", {"a", "", "bc"});
  out.add_ints("ints", std::vector<int32_t>{-1, 2, 3});
  out.add_tensor("t", TensorType::f32, {3, 2}, std::string(24, '\2'));
  out.add_tensor("u", TensorType::i8, {5}, "hello");
  replay(gguf_fuzz, out.finish(), 20000);
}

TEST_F(Replay, DaemonAnswer) {
  replay(daemon_answer_fuzz,
         "# HELP h words\nh_bucket{m=\"a\\n\",le=\"0.5\"} 3\nh_bucket{m=\"a\",le=\"+Inf\"} 4\n"
         "vllm:num_requests_running{model_name=\"a\"} 1\n\n",
         2000);
  replay(daemon_answer_fuzz, "id: 7\ndata: {\"a\":1}\r\n\r\ndata: b\ndata: c\n\n: d\n", 2000);
  replay(daemon_answer_fuzz,
         R"([{"id":0,"is_processing":true,"n_prompt_tokens":9,"next_token":[{"n_decoded":1}]}])",
         2000);
}

TEST_F(Replay, ModelFile) {
  const auto model = test::random_model({.n_layers = 1});
  const fs::path path = folder_ / "m.gguf";
  ASSERT_TRUE(write_model_file(path, model, *test::tiny_tokenizer(), {{"job", "j"}}));
  replay(model_file_fuzz, *read_file(path), 500);
}

TEST_F(Replay, Tokenizer) {
  replay(tokenizer_fuzz, std::string(test::tiny_tokenizer()->serialized()), 5000);
}

TEST_F(Replay, Safetensors) {
  const std::string header = R"({"__metadata__":{"a":"b"},"w":{"dtype":"BF16","shape":[2,3],)"
                             R"("data_offsets":[0,12]}})";
  replay(safetensors_fuzz,
         std::string(1, static_cast<char>(header.size())) + std::string(7, '\0') + header +
             std::string(12, '?'),
         20000);
}

TEST_F(Replay, TorchCheckpoint) {
  for (const char* name : {"state_dict.pt", "packed.pt", "training.pt"}) {
    const auto file = read_file(fs::path(TRISTILL_SOURCE_DIR) / "tests/convert/data" / name);
    ASSERT_TRUE(file);
    replay(torch_checkpoint_fuzz, *file, 5000);
    // The pickle alone, which changes seldom reach in the whole.
    const auto members = convert::read_zip(std::as_bytes(std::span(*file)));
    ASSERT_TRUE(members);
    const std::string folder(fs::path(name).stem());
    const auto pickle = members->at(folder + "/data.pkl");
    replay(torch_checkpoint_fuzz,
           std::string(reinterpret_cast<const char*>(pickle.data()), pickle.size()), 20000);
  }
}

TEST_F(Replay, TrainSpec) {
  const auto body = read_file(fs::path(TRISTILL_SOURCE_DIR) / "configs/jobs/train-tiny.json");
  ASSERT_TRUE(body);
  const auto spec = job::parse_train_spec(*body);
  ASSERT_TRUE(spec);
  replay(train_spec_fuzz, *body, 4000);
  replay(train_spec_fuzz, job::format_train_spec(*spec), 4000);
  const std::string dry = R"({"kind":"dryrun","name":"d","measure":"account","job":)" + *body + "}";
  replay(train_spec_fuzz, dry, 2000);
  replay(train_spec_fuzz,
         R"({"kind":"tokenizer","name":"t","data":{"corpora":[{"name":"python-stdlib"}]}})", 2000);
}

TEST_F(Replay, Event) {
  replay(event_fuzz,
         job::format_event({.type = job::EventType::metrics,
                            .time = 12.5,
                            .message = "a\n\"b\"",
                            .numbers = {{"loss", HUGE_VAL}, {"y", -3}},
                            .texts = {{"k", "v"}}}),
         10000);
}

TEST_F(Replay, Sample) {
  replay(sample_fuzz,
         R"({"messages":[{"role":"user","content":[{"type":"text","text":"q"}]},)"
         R"({"role":"assistant","content":"a","tool_calls":[{"function":{"name":"f"}}]}]})",
         10000);
  replay(sample_fuzz, R"({"prompt":"q","input":"i","thinking":"t","responses":{"x":"a","y":"b"}})",
         10000);
}
TEST_F(Replay, TraceRecord) { replay(trace_record_fuzz, trace::format_record(record()), 10000); }

TEST_F(Replay, TraceShard) {
  const fs::path path = folder_ / "s";
  ASSERT_TRUE(trace::append_records(path, std::vector{record(), record()}));
  replay(trace_shard_fuzz, *read_file(path), 10000);
}

TEST_F(Replay, CompletionRequest) {
  replay(
      completion_request_fuzz,
      R"({"prompt":["a",[1,2],7],"n":2,"max_tokens":5,"stop":["\n","x"],"logit_bias":{"5":-1.5},)"
      R"("seed":-1,"stream_options":{"include_usage":true},"logprobs":3,"temperature":0.5})",
      20000);
  replay(completion_request_fuzz, R"({"prompt":"a","suffix":"b","echo":true,"user":"u"})", 10000);
}

TEST_F(Replay, OutputForm) {
  replay(
      output_form_fuzz,
      R"({"json_schema":{"type":"object","properties":{"a":{"type":"string","pattern":"^a+b?$"},)"
      R"("b":{"type":["integer","null"],"minimum":-3},"c":{"$ref":"#/$defs/d"},)"
      R"("e":{"anyOf":[{"const":"x"},{"enum":["y",1.5]}]}},"required":["a","c"],)"
      R"("additionalProperties":{"type":"array","items":{"maxLength":9},"maxItems":40},)"
      R"("$defs":{"d":{"allOf":[{"type":"object"},{"properties":{"f":{"$ref":"#"}}}]}}}})",
      2000);
  replay(
      output_form_fuzz,
      "root ::= item (\",\" [ \\n]? item){0,5} # list\nitem ::= [a-z\\u00e9]+ | \"(\" root \")\"\n",
      3000);
}

TEST_F(Replay, ChatTemplate) {
  replay(
      chat_template_fuzz,
      "{%- set ns = namespace(n=0, last='') %}{% macro turn(role, text='') -%}\n"
      "<|im_start|>{{ role ~ '\\n' + text | trim }}{{ '<|im_end|>' }}{% endmacro %}\n"
      "{{- bos_token }}{% for message in messages if message.content is string %}\n"
      "  {%- if loop.first and message['role'] == 'system' %}{{ message.content[:2] }}\n"
      "  {%- elif message.role not in ['a', \"b\"] %}{% set ns.n = ns.n + 1 %}{{ turn(message.role,"
      " message.content.split('\\n')[-1]) }}{% else %}{% continue %}{% endif %}{% endfor %}\n"
      "{{ messages | selectattr('tool_calls', 'defined') | list | tojson(indent=2) }}"
      "{{ {'a': [1, 2.5, none]}.a[::-1] }}{{ ns.n * 2 ** 3 // 5 }}{{ messages[0].content.upper() }}"
      "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
      20000);
  replay(
      chat_template_fuzz,
      "{% for a in messages %}{% for b in messages %}{{ (a.content ~ b.content) | replace('a', 'b')"
      " | title | indent(3) | join('-') }}{% endfor %}{% endfor %}{% set x | upper %}{{ messages |"
      " map(attribute='role') | unique | sort | join(', ') }}{% endset %}{{ x * 3 }}{{ range(9) |"
      " batch(2) | list }}{{ x is defined and not x is lower or x in ['a'] }}",
      10000);
}

TEST_F(Replay, Http) {
  replay(http_fuzz,
         "POST /a?b=c HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nX-Request-Id: i\r\n\r\nabc"
         "POST /d HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
         "3\r\nabc\r\n10;e=f\r\n0123456789abcdef\r\n0\r\n\r\nGET / HTTP/1.0\r\n\r\n",
         20000);
  constexpr char kGzip[] =
      "\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\x4b\x4c\x4a\x4e\x04\x23\x00\x18\x48\x2d\x46\x09\x00"
      "\x00\x00";
  replay(http_fuzz,
         "POST /%61 HTTP/1.1\r\nHost: h\r\nContent-Encoding: gzip\r\nContent-Length: " +
             std::to_string(sizeof kGzip - 1) + "\r\n\r\n" + std::string(kGzip, sizeof kGzip - 1) +
             "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
         20000);
}

}  // namespace
}  // namespace tristill
