#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/atomic_file.h"
#include "train/job/data_manifest.h"
#include "train/job/event.h"
#include "train/job/job_file.h"
#include "train/job/model_sizes.h"
#include "train/trace/jsonl.h"
#include "train/trace/shard.h"

namespace tristill {
namespace {

namespace fs = std::filesystem;
using namespace std::string_literals;

std::string tiny_body() {
  return *read_file(fs::path(TRISTILL_SOURCE_DIR) / "configs/jobs/train-tiny.json");
}

std::string with(const std::string& from, const std::string& to) {
  std::string body = tiny_body();
  const size_t at = body.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return body.replace(at, from.size(), to);
}

TEST(TrainSpec, TheExampleIsAcceptedAndComesBack) {
  const auto spec = job::parse_train_spec(tiny_body());
  ASSERT_TRUE(spec) << spec.error().message;
  EXPECT_EQ(spec->name, "tiny");
  EXPECT_EQ(spec->model.d_model, 256U);
  const auto again = job::parse_train_spec(job::format_train_spec(*spec));
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(job::format_train_spec(*again), job::format_train_spec(*spec));
}

TEST(TrainSpec, EveryExampleInTheRepositoryIsAccepted) {
  for (const auto& entry : fs::directory_iterator(fs::path(TRISTILL_SOURCE_DIR) / "configs/jobs")) {
    const auto spec = job::parse_job_spec(*read_file(entry.path()));
    EXPECT_TRUE(spec) << entry.path() << ": " << (spec ? "" : spec.error().message);
  }
  for (const auto& entry :
       fs::directory_iterator(fs::path(TRISTILL_SOURCE_DIR) / "configs/models")) {
    EXPECT_TRUE(job::parse_model_config(*read_file(entry.path()))) << entry.path();
  }
}

// What each architecture is in truth: total, ternary, bytes of keys and values a token. Of
// bitnet-kde the original counts 119,808 and 1,703,936 learned row scales more (mini and 8.9B).
TEST(ModelSizes, PresetsHaveTheCountsThatTheirNamesSay) {
  const struct {
    const char* name;
    uint64_t total, ternary, kv_bytes;
  } presets[] = {{"distillix-39m", 38'938'112, 22'544'384, 4'096},
                 {"distillix-100m", 100'094'208, 75'497'472, 12'288},
                 {"distillix-213m", 213'158'912, 180'355'072, 16'384},
                 {"distillix-527m", 527'313'664, 486'277'120, 35'840},
                 {"bitnet-kde-162m", 162'417'408, 113'246'208, 36'864},
                 {"bitnet-kde-6.7b", 6'738'415'616, 6'476'005'376, 524'288},
                 {"bitnet-kde-8.9b", 8'852'344'832, 8'589'934'592, 524'288},
                 {"xinslm-299m", 298'632'192, 265'814'016, 24'576},
                 {"xinslm-1.0b", 1'018'123'776, 968'884'224, 57'344},
                 {"bitnet-2b4t-2.4b", 2'412'820'480, 2'084'044'800, 76'800},
                 {"starter", 5'777'408, 4'718'592, 3'072},
                 {"tiny", 1'051'136, 786'432, 1'024}};
  const auto folder = fs::path(TRISTILL_SOURCE_DIR) / "configs/models";
  size_t files = 0;
  for (const auto& entry : fs::directory_iterator(folder)) files += entry.is_regular_file();
  EXPECT_EQ(files, std::size(presets));
  for (const auto& preset : presets) {
    const auto config = job::parse_model_config(*read_file(folder / (preset.name + ".json"s)));
    ASSERT_TRUE(config) << preset.name << ": " << config.error().message;
    const ParameterCounts counts = count_parameters(*config);
    EXPECT_EQ(counts.total(), preset.total) << preset.name;
    EXPECT_EQ(counts.ternary, preset.ternary) << preset.name;
    EXPECT_EQ(kv_bytes_per_token(*config), preset.kv_bytes) << preset.name;
    EXPECT_GT(stored_bytes(*config), counts.ternary / 4 + counts.embedding) << preset.name;
  }
}

TEST(ModelSizes, TheTableHasALineAFileAndErrorsNameIt) {
  const auto folder = fs::path(TRISTILL_SOURCE_DIR) / "configs/models";
  const std::vector<fs::path> good = {folder / "tiny.json", folder / "distillix-100m.json"};
  const auto table = job::table_of_sizes(good);
  ASSERT_TRUE(table);
  EXPECT_EQ(std::count(table->begin(), table->end(), '\n'), 3);
  EXPECT_NE(table->find("100094208        75497472"), std::string::npos) << *table;
  const std::vector<fs::path> absent = {folder / "absent.json"};
  EXPECT_FALSE(job::table_of_sizes(absent));
  const std::vector<fs::path> wrong = {fs::path(TRISTILL_SOURCE_DIR) / "configs/server.json"};
  const auto refused = job::table_of_sizes(wrong);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("server.json"), std::string::npos);
}

TEST(TrainSpec, RefusalsNameTheField) {
  const struct {
    const char* from;
    const char* to;
    const char* param;
  } cases[] = {
      {"\"kind\": \"train\"", "\"kind\": \"fly\"", "kind"},
      {"\"name\": \"tiny\"", "\"name\": \"../x\"", "name"},
      {"\"d_model\": 256", "\"d_model\": \"wide\"", "model.d_model"},
      {"\"d_model\": 256", "\"d_model\": 300", "model.d_model"},
      {"\"d_model\": 256", "\"d_modell\": 256", "model.d_model"},
      {"\"fim_rate\": 0.3", "\"fim_rate\": 1.5", "data.fim_rate"},
      {"\"name\": \"python-stdlib\"", "\"name\": 7", "data.corpora[0].name"},
      {"\"max_seconds\": 12", "\"max_seconds\": -1", "budget.max_seconds"},
      {"\"batch_tokens\": 2048", "\"batch_tokens\": 1e99", "batch_tokens"},
      {"\"log_every\": 5", "\"log_evry\": 5", "log_evry"},
      {"\"vocab_size\": 1024\n  }", "\"vocab_size\": 5000\n  }", "model.vocab_size"},
  };
  for (const auto& c : cases) {
    const auto spec = job::parse_train_spec(with(c.from, c.to));
    ASSERT_FALSE(spec) << c.to;
    EXPECT_EQ(spec.error().param, c.param) << spec.error().message;
    EXPECT_EQ(spec.error().code, ErrorCode::invalid_argument);
  }
}

// train-tiny has 16 rows.
TEST(TrainSpec, MicroBatchesDivideTheRowsAndRanksTheMicroBatches) {
  const struct {
    const char* settings;
    const char* param;  // of the refusal; empty: accepted
  } cases[] = {
      {"\"micro_batches\": 16, \"ranks\": 16", ""},
      {"\"micro_batches\": 4, \"ranks\": 2", ""},
      {"\"micro_batches\": 3", "micro_batches"},
      {"\"micro_batches\": 32", "micro_batches"},
      {"\"ranks\": 2", "ranks"},
      {"\"micro_batches\": 8, \"ranks\": 3", "ranks"},
      {"\"micro_batches\": 2, \"ranks\": 4", "ranks"},
  };
  for (const auto& c : cases) {
    const auto spec =
        job::parse_train_spec(with("\"log_every\": 5", c.settings + ", \"log_every\": 5"s));
    EXPECT_EQ(spec ? "" : spec.error().param, c.param) << c.settings;
    if (!spec) {
      EXPECT_NE(spec.error().message.find("accepted is"), std::string::npos) << c.settings;
    }
  }
}

// Each refusal names the setting and what to set instead.
TEST(TrainSpec, Fp16IsRefusedWhereNoLossScaleHelps) {
  const struct {
    const char* settings;
    const char* param;  // of the refusal; empty: accepted
  } cases[] = {
      {"\"init_scale\": 0.01", ""},
      {"\"micro_batches\": 4, \"gradient_checkpointing\": true", ""},
      {"\"init_scale\": 0.0099", "init_scale"},
      {"\"quantized\": false", "quantized"},
      {"\"quantization\": {\"lambda_warmup_steps\": 5}", "quantization.lambda_warmup_steps"},
      {"\"optimizer\": {\"kind\": \"distillix_muon\"}", "optimizer.kind"},
  };
  for (const auto& c : cases) {
    nlohmann::json body = nlohmann::json::parse(tiny_body());
    body.update(nlohmann::json::parse("{"s + c.settings + "}"));
    EXPECT_TRUE(job::parse_train_spec(body.dump())) << c.settings;
    body["precision"] = "fp16";
    const auto spec = job::parse_train_spec(body.dump());
    EXPECT_EQ(spec ? "" : spec.error().param, c.param) << c.settings;
    if (!spec) {
      EXPECT_NE(spec.error().message.find("set precision to bf16 or fp32"), std::string::npos);
    }
  }
}

TEST(TrainSpec, PrecisionAndCheckpointingComeBackAsTheyWereWritten) {
  for (const char* precision : {"bf16", "fp32", "fp16"}) {
    nlohmann::json body = nlohmann::json::parse(tiny_body());
    body["precision"] = precision;
    body["gradient_checkpointing"] = true;
    const auto spec = job::parse_train_spec(body.dump());
    ASSERT_TRUE(spec);
    EXPECT_TRUE(spec->gradient_checkpointing);
    const auto written = nlohmann::json::parse(job::format_train_spec(*spec));
    EXPECT_EQ(written["precision"], precision);
    EXPECT_EQ(written["gradient_checkpointing"], true);
  }
  EXPECT_FALSE(job::parse_train_spec(tiny_body())->gradient_checkpointing);
}

TEST(TrainSpec, HostileJsonIsRefused) {
  EXPECT_FALSE(job::parse_train_spec(""));
  EXPECT_FALSE(job::parse_train_spec("[]"));
  EXPECT_FALSE(job::parse_train_spec(std::string(100000, '[')));
  EXPECT_FALSE(job::parse_train_spec("{\"kind\":\"train\""));
}

std::string dryrun_body(const std::string& measure) {
  return R"({"kind":"dryrun","name":"try","measure":")" + measure + R"(","job":)" + tiny_body() +
         "}";
}

std::string tokenizer_body(const std::string& tokenizer) {
  return R"({"kind":"tokenizer","name":"py","tokenizer":)" + tokenizer +
         R"(,"data":{"corpora":[{"name":"python-stdlib"}]}})";
}

// A dry run of a job that adapts a model.
std::string adapting_dryrun_body() {
  nlohmann::json body = nlohmann::json::parse(dryrun_body("account"));
  body["job"].update(nlohmann::json::parse(
      R"({"quantized":false,"init_from_weights":"published","lora":{"rank":8}})"));
  return body.dump();
}

// A dry run of a job with a teacher, which it would not count.
std::string taught_dryrun_body() {
  nlohmann::json body = nlohmann::json::parse(dryrun_body("account"));
  body["job"]["teaching"] = nlohmann::json::parse(R"({"teachers":[{"model":"big"}]})");
  return body.dump();
}

TEST(JobSpec, EveryKindComesBackAsItWasWritten) {
  for (const std::string& body : {tiny_body(), dryrun_body("account"), adapting_dryrun_body(),
                                  tokenizer_body(R"({"vocab_size":512})")}) {
    const auto spec = job::parse_job_spec(body);
    ASSERT_TRUE(spec) << spec.error().message;
    const auto again = job::parse_job_spec(job::format_job_spec(*spec));
    ASSERT_TRUE(again) << again.error().message;
    EXPECT_EQ(again->index(), spec->index());
    EXPECT_EQ(job::format_job_spec(*again), job::format_job_spec(*spec));
    job::JobFile file;
    file.id = "ftjob-1";
    file.spec = *spec;
    const auto read = job::parse_job_file(job::format_job_file(file));
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_EQ(job::format_job_spec(read->spec), job::format_job_spec(*spec));
  }
  EXPECT_EQ(job::result_file(*job::parse_job_spec(dryrun_body("run"))), "dryrun.json");
  EXPECT_EQ(job::name_of(*job::parse_job_spec(dryrun_body("run"))), "try");
}

TEST(JobSpec, RefusalsNameTheField) {
  const struct {
    std::string body, param;
  } cases[] = {
      {R"({"name":"x"})", "kind"},
      {R"({"kind":"bake","name":"x"})", "kind"},
      {dryrun_body("guess"), "measure"},
      {R"({"kind":"dryrun","name":"x"})", "job"},
      {R"({"kind":"dryrun","name":"x","job":7})", "job"},
      {R"({"kind":"dryrun","name":"x","job":)" + with("\"d_model\": 256", "\"d_model\": 3") + "}",
       "job.model.d_model"},
      {taught_dryrun_body(), "job.teaching"},
      {tokenizer_body(R"({"vocab_size":7})"), "tokenizer.vocab_size"},
      {tokenizer_body(R"({"from_job":"ftjob-1"})"), "tokenizer"},
      {R"({"kind":"tokenizer","name":"x","data":{}})", "data.corpora"},
      {R"({"kind":"tokenizer","name":"x"})", "data"},
  };
  for (const auto& c : cases) {
    const auto spec = job::parse_job_spec(c.body);
    ASSERT_FALSE(spec) << c.body;
    EXPECT_EQ(spec.error().param, c.param) << c.body << ": " << spec.error().message;
  }
}

TEST(TrainSpec, SettingsOfAComparisonNeedATeacher) {
  for (const char* setting :
       {R"("divergence": "jsd")", R"("temperature": 2)", R"("tail": "sampled")"}) {
    const std::string loss = std::string(R"("loss": {)") + setting + "},";
    const std::string name = std::string(setting).substr(1, std::string(setting).find(':') - 2);
    const auto spec = job::parse_train_spec(with("\"tokenizer\": {", loss + "\"tokenizer\": {"));
    ASSERT_FALSE(spec) << setting;
    EXPECT_EQ(spec.error().param, "loss." + name) << spec.error().message;
    const auto taught = job::parse_train_spec(
        with("\"tokenizer\": {",
             loss + R"("teaching": {"teachers":[{"model":"a"}]},)" + "\"tokenizer\": {"));
    EXPECT_TRUE(taught) << taught.error().message;
  }
}

TEST(TrainSpec, TeachingThatContradictsItselfIsRefused) {
  const struct {
    const char *teaching, *param;
  } cases[] = {
      {R"({"teachers":[{}]})", "teaching.teachers[0].model"},
      {R"({"teachers":[{"model":"a","weight":0}]})", "teaching.teachers[0].weight"},
      {R"({"relation_weight":1})", "teaching.relation_weight"},
      {R"({"on_policy_share":0.5})", "teaching.on_policy_share"},
      {R"({"teachers":[{"model":"a"}],"relation_heads":2})", "teaching.relation_heads"},
      {R"({"teachers":[{"model":"a"},{"model":"b"}],"relation_weight":1})",
       "teaching.relation_weight"},
      {R"({"teachers":[{"model":"a"}],"on_policy_temperature":1})",
       "teaching.on_policy_temperature"},
      {R"({"teachers":[{"model":"a"}]},"loss":{"kd_weight":0})", "loss.kd_weight"},
  };
  for (const auto& c : cases) {
    const std::string field = R"("teaching": )" + std::string(c.teaching) + ",";
    const auto spec = job::parse_train_spec(with("\"tokenizer\": {", field + "\"tokenizer\": {"));
    ASSERT_FALSE(spec) << c.teaching;
    EXPECT_EQ(spec.error().param, c.param) << spec.error().message;
  }
  const auto spec = job::parse_train_spec(
      with("\"tokenizer\": {",
           R"("teaching": {"teachers":[{"model":"a"}],"relation_weight":0.5,"relation_layer":1},)"
           "\"tokenizer\": {"));
  ASSERT_TRUE(spec) << spec.error().message;
  const auto again = job::parse_train_spec(job::format_train_spec(*spec));
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(again->teaching.relation_layer, 1U);
  EXPECT_EQ(job::format_train_spec(*again), job::format_train_spec(*spec));
}

TEST(TrainSpec, ATokenizerComesFromOnePlace) {
  const auto spec = job::parse_train_spec(
      with("\"tokenizer\": {", R"("tokenizer": {"from_model":"a","from_job":"ftjob-1",)"));
  ASSERT_FALSE(spec);
  EXPECT_EQ(spec.error().param, "tokenizer.from_job");
}

TEST(JobFile, ComesBackAsItWasWritten) {
  job::JobFile file;
  file.id = "ftjob-1";
  file.train() = *job::parse_train_spec(tiny_body());
  file.corpora = {{{.name = "a", .extensions = {".py", ".pyi"}, .weight = 2}, "/x/y"}};
  file.trace_shards = {"/t/0"};
  file.tokenizer_model = "/m.gguf";
  const auto again = job::parse_job_file(job::format_job_file(file));
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(job::format_job_file(*again), job::format_job_file(file));
  EXPECT_EQ(again->corpora[0].path, "/x/y");
}

TEST(DataManifest, ALineSaysOnlyWhatItKnows) {
  using Split = job::ManifestLine::Split;
  EXPECT_EQ(job::format_manifest_line({.corpus = "c",
                                       .path = "a.py",
                                       .sha256 = "ab",
                                       .bytes = 7,
                                       .license = "MIT",
                                       .split = Split::held_out}),
            "{\"corpus\":\"c\",\"path\":\"a.py\",\"sha256\":\"ab\",\"bytes\":7,\"license\":\"MIT\","
            "\"split\":\"held_out\"}\n");
  EXPECT_EQ(job::format_manifest_line({.corpus = "c",
                                       .path = "b\xff",
                                       .bytes = 9,
                                       .split = Split::skipped,
                                       .reason = "size",
                                       .duplicates = 3}),
            "{\"corpus\":\"c\",\"path\":\"b\xEF\xBF\xBD\",\"bytes\":9,\"split\":\"skipped\","
            "\"reason\":\"size\",\"duplicates\":3}\n");
}

TEST(Event, ComesBackAlsoWithNumbersThatAreNotFinite) {
  const job::Event event{.type = job::EventType::metrics,
                         .level = job::EventLevel::warn,
                         .time = 12.5,
                         .message = "a\n\"b\"",
                         .numbers = {{"loss", NAN}, {"x", HUGE_VAL}, {"y", -3}},
                         .texts = {{"k", "v"}}};
  const std::string line = job::format_event(event);
  EXPECT_EQ(line.find('\n'), std::string::npos);
  const auto again = job::parse_event(line);
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_TRUE(std::isnan(again->numbers.at("loss")));
  EXPECT_EQ(again->numbers.at("y"), -3);
  EXPECT_EQ(again->message, event.message);
  EXPECT_FALSE(job::parse_event("{\"type\":\"dance\",\"level\":\"info\",\"time\":1}"));
}

std::string record_line() {
  return R"({"tokenizer":")" + std::string(64, 'a') +
         R"(","teacher":"t","sampling":"corpus","prompt_tokens":2,"tokens":[5,6,7],)"
         R"("top_logprobs":[null,[[6,-0.5],[9,-1.5]],null]})";
}

TEST(TraceLine, ComesBackAndRefusalsNameTheField) {
  const auto record = trace::parse_record(record_line());
  ASSERT_TRUE(record) << record.error().message;
  EXPECT_EQ(record->top_logprobs[1][1].token, 9);
  EXPECT_EQ(trace::format_record(*trace::parse_record(trace::format_record(*record))),
            trace::format_record(*record));
  const struct {
    const char* from;
    const char* to;
    const char* param;
  } cases[] = {
      {"\"corpus\"", "\"dream\"", "sampling"},
      {"[5,6,7]", "[5,-6,7]", "tokens[1]"},
      {"[5,6,7]", "[]", "tokens"},
      {"[6,-0.5]", "[6,0.5]", "top_logprobs[1][0]"},
      {"[9,-1.5]", "[6,-1.5]", "top_logprobs[1][1]"},
      {"[9,-1.5]", "[9,-0.1]", "top_logprobs[1]"},
      {"null,[[", "[[", "top_logprobs"},
      {"\"prompt_tokens\":2", "\"prompt_tokens\":9", "prompt_tokens"},
      {"\"teacher\":\"t\"", "\"teachr\":\"t\"", "teachr"},
  };
  for (const auto& c : cases) {
    std::string line = record_line();
    line.replace(line.find(c.from), std::string(c.from).size(), c.to);
    const auto refused = trace::parse_record(line);
    ASSERT_FALSE(refused) << c.to;
    EXPECT_EQ(refused.error().param, c.param) << refused.error().message;
  }
}

class ShardTest : public ::testing::Test {
 protected:
  ShardTest() {
    std::string name = (fs::temp_directory_path() / "tristill-shard-XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
    path_ = folder_ / "00000.shard";
    for (int i = 0; i < 3; ++i) {
      trace::Record record = *trace::parse_record(record_line());
      record.tokens[0] = i;
      records_.push_back(record);
    }
  }
  ~ShardTest() override { fs::remove_all(folder_); }
  std::vector<int> firsts(bool* torn = nullptr) {
    std::vector<int> found;
    const auto summary = trace::read_shard(
        path_, [&](trace::Record&& record) { found.push_back(record.tokens[0]); });
    EXPECT_TRUE(summary);
    if (torn != nullptr) *torn = summary->torn_tail;
    return found;
  }
  fs::path folder_, path_;
  std::vector<trace::Record> records_;
};

TEST_F(ShardTest, AppendedRecordsComeBackInOrder) {
  ASSERT_TRUE(trace::append_records(path_, records_));
  ASSERT_TRUE(trace::append_records(path_, std::span(records_).first(1)));
  EXPECT_EQ(firsts(), (std::vector<int>{0, 1, 2, 0}));
}

TEST_F(ShardTest, EveryTornTailIsToldAndCutOffByTheNextAppend) {
  ASSERT_TRUE(trace::append_records(path_, records_));
  const std::string whole = *read_file(path_);
  for (size_t n = 8; n < whole.size(); n += 3) {
    ASSERT_TRUE(write_file_atomically(path_, std::string_view(whole).substr(0, n)));
    const size_t kept = firsts().size();
    EXPECT_LT(kept, 3U);
    ASSERT_TRUE(trace::append_records(path_, std::span(records_).last(1)));
    bool torn = true;
    const auto now = firsts(&torn);
    EXPECT_FALSE(torn);
    ASSERT_EQ(now.size(), kept + 1);
    EXPECT_EQ(now.back(), 2);
  }
}

TEST_F(ShardTest, ARottenByteEndsTheReading) {
  ASSERT_TRUE(trace::append_records(path_, records_));
  std::string bytes = *read_file(path_);
  bytes[bytes.size() - 20] ^= 1;
  ASSERT_TRUE(write_file_atomically(path_, bytes));
  bool torn = false;
  EXPECT_EQ(firsts(&torn), (std::vector<int>{0, 1}));
  EXPECT_TRUE(torn);
}

TEST_F(ShardTest, AnotherFileIsRefused) {
  ASSERT_TRUE(write_file_atomically(path_, "something else entirely"));
  EXPECT_EQ(trace::append_records(path_, records_).error().code, ErrorCode::corrupt);
  EXPECT_FALSE(trace::read_shard(path_, [](trace::Record&&) {}));
}

}  // namespace
}  // namespace tristill
