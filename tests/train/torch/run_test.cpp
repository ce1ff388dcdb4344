// The whole worker on a tiny job: training, resuming, exporting, and the engine on the result.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/atomic_file.h"
#include "base/sha256.h"
#include "model/engine/engine.h"
#include "model/format/model_file.h"
#include "model/weights.h"
#include "tests/support/test_model.h"
#include "tests/train/torch/engine_panels.h"
#include "tests/train/torch/run_fixture.h"
#include "train/checkpoint.h"
#include "train/export.h"
#include "train/job/event.h"
#include "train/run/quantization.h"
#include "train/run/train.h"
#include "train/trace/shard.h"
#include "train/worker.h"

namespace tristill::train {
namespace {

// Attention sums in another order than the engine's, and a value on the edge between two of 15
// levels then rounds to the other one: a few hundredths of the logits' spread.
constexpr double kFourBitTie = 0.05;

TEST_F(RunTest, AResumedRunEqualsAStraightOneBitForBit) {
  const auto straight = directory("straight");
  ASSERT_TRUE(run(straight, job(6)));
  const auto parts = directory("parts");
  run_in_two_parts(parts, job(6));
  std::string skipped;
  const auto a = load_newest_checkpoint(straight.checkpoints(), skipped);
  const auto b = load_newest_checkpoint(parts.checkpoints(), skipped);
  ASSERT_TRUE(a && b);
  EXPECT_EQ(a->step, 6);
  EXPECT_EQ(b->step, 6);
  for (const auto& [name, tensor] : a->tensors) {
    if (name == "run.numbers") continue;  // holds seconds
    EXPECT_TRUE(tensor.equal(b->tensors.at(name))) << name;
  }
  EXPECT_EQ(*read_file(straight.model()), *read_file(parts.model()));
}

TEST_F(RunTest, AskedToStopItCheckpointsAndSaysInterrupted) {
  const auto place = directory("stopped");
  const auto outcome = run(place, job(1000000), true);
  ASSERT_TRUE(outcome);
  EXPECT_EQ(*outcome, Outcome::interrupted);
  EXPECT_TRUE(fs::exists(place.checkpoints() / "00000000" / "state.pt"));
}

}  // namespace

// The newest checkpoint's weights in a student of this config.
Student RunTest::trained_student(const job::JobDirectory& place, const ModelConfig& config,
                                 const job::QuantizationSpec& quantization) {
  Student student(config, true, at::kFloat, 1, ternary_rule(quantization));
  std::string skipped;
  const auto checkpoint = load_newest_checkpoint(place.checkpoints(), skipped);
  EXPECT_TRUE(checkpoint);
  const torch::NoGradGuard no_grad;
  for (const NamedParameter& parameter : student.parameters()) {
    torch::Tensor(parameter.tensor).copy_(checkpoint->tensors.at("weights." + parameter.name));
  }
  student.refresh();
  return student;
}

// Trains; the engine's greedy tokens must be those of a student of the config it ended with, or
// as good as those: so much of the logits' spread behind.
void RunTest::expect_engine_speaks_as_student(const job::JobFile& file, const ModelConfig& trained,
                                              double tolerance) {
  const auto place = directory("job");
  ASSERT_TRUE(run(place, file));
  const auto loaded = load_model(place.model());
  ASSERT_TRUE(loaded) << loaded.error().message;
  ASSERT_EQ((*loaded)->config.activation_bits, trained.activation_bits);
  ASSERT_EQ((*loaded)->config.down_activation_bits, trained.down_activation_bits);
  ASSERT_EQ((*loaded)->config.sliding_window, trained.sliding_window);
  const Student student = trained_student(place, trained, file.train().quantization);

  engine::Engine engine(*loaded, {.n_threads = 1});
  std::vector<TokenId> prompt = (*loaded)->tokenizer->encode("def function_3_4(");
  auto generation = engine.submit(
      {.prompt = prompt, .sampling = {.temperature = 0}, .max_tokens = 20, .ignore_eos = true});
  ASSERT_TRUE(generation);
  std::vector<TokenId> spoken;
  while (!generation->finished()) {
    const auto event = generation->next(std::chrono::seconds(10));
    ASSERT_TRUE(event);
    if (event->kind == engine::TokenEvent::Kind::token) spoken.push_back(event->token);
  }
  ASSERT_EQ(spoken.size(), 20U);

  std::vector<int64_t> context(prompt.begin(), prompt.end());
  for (const TokenId expected : spoken) {
    const auto n = static_cast<int64_t>(context.size());
    const auto tokens = torch::tensor(context, at::kLong).view({1, n});
    const auto logits = student.logits(tokens, at::zeros({1, n}, at::kInt));
    const torch::Tensor last = logits[n - 1];
    const double behind = (last.max() - last[expected]).item<double>();
    EXPECT_LE(behind, tolerance * last.std().item<double>()) << "token " << context.size();
    context.push_back(expected);
  }
}

void RunTest::expect_engine_speaks_as_student(uint32_t window) {
  auto file = job(60);
  file.train().model.sliding_window = window;
  file.train().data.fim_rate = 0;
  expect_engine_speaks_as_student(file, file.train().model);
}

namespace {

TEST_F(RunTest, LossFallsAndTheEngineSpeaksTheStudentsTokens) {
  expect_engine_speaks_as_student(0);
}

TEST_F(RunTest, ChatsAreAnsweredInTheWordsOfTheCorpusAndEnd) {
  fs::create_directories(root_ / "talk");
  std::ofstream lines(root_ / "talk" / "a.jsonl");
  for (int i = 0; i < 8; ++i) {
    lines << R"({"prompt": "question )" << i << R"(", "response": "value + other"})" << "\n";
  }
  lines.close();
  auto file = job(80);
  file.corpora = {{{.name = "talk", .format = job::CorpusFormat::jsonl, .extensions = {".jsonl"}},
                   (root_ / "talk").string()}};
  file.train().data.held_out = 0;
  const auto place = directory("talking");
  ASSERT_TRUE(run(place, file));
  const auto loaded = load_model(place.model());
  ASSERT_TRUE(loaded) << loaded.error().message;
  const Tokenizer& tokenizer = *(*loaded)->tokenizer;
  engine::Engine engine(*loaded, {.n_threads = 1});
  // As the daemon's template "plain" asks.
  auto generation = engine.submit({.prompt = tokenizer.encode("user: question 5\n\nassistant:"),
                                   .sampling = {.temperature = 0},
                                   .max_tokens = 40});
  ASSERT_TRUE(generation);
  std::string answer;
  while (!generation->finished()) {
    const auto event = generation->next(std::chrono::seconds(10));
    ASSERT_TRUE(event);
    if (event->kind == engine::TokenEvent::Kind::token) answer += tokenizer.bytes_of(event->token);
  }
  EXPECT_EQ(answer, " value + other");
}

TEST_F(RunTest, ASlidingWindowIsTheEnginesToo) {
  expect_engine_speaks_as_student(8);
  auto config = job(0).train().model;
  config.sliding_window = 8;
  const Student narrow = trained_student(directory("job"), config);
  config.sliding_window = 0;
  const Student wide = trained_student(directory("job"), config);
  const auto tokens = at::arange(40, at::kLong).add(20).view({1, 40});
  const auto start = at::zeros({1, 40}, at::kInt);
  const auto a = narrow.logits(tokens, start);
  const auto b = wide.logits(tokens, start);
  for (int64_t t = 0; t < 40; ++t) EXPECT_EQ(a[t].equal(b[t]), t < 8) << t;
}

TEST_F(RunTest, FourBitsCappedScoresAndInt8AttentionAreTheEnginesToo) {
  auto file = job(60);
  file.train().data.fim_rate = 0;
  file.train().model.d_ff = 320;
  file.train().model.attention_softcap = 2;
  file.train().model.ternary_attention = false;
  file.train().quantization.activation_bits = 4;
  ModelConfig trained = file.train().model;
  trained.activation_bits = 4;
  expect_engine_speaks_as_student(file, trained, kFourBitTie);
}

TEST_F(RunTest, FourBitsBeforeDownAreTheEnginesToo) {
  auto file = job(40);
  file.train().data.fim_rate = 0;
  file.train().quantization.activation_bits = 4;
  file.train().quantization.keep_a8_before_down = false;
  ModelConfig trained = file.train().model;
  trained.activation_bits = trained.down_activation_bits = 4;
  expect_engine_speaks_as_student(file, trained, kFourBitTie);
}

// Numbers of the events that carry this message.
std::vector<job::Event> events_with(const job::JobDirectory& place, const std::string& message) {
  std::vector<job::Event> found;
  std::istringstream lines(*read_file(place.events()));
  for (std::string line; std::getline(lines, line);) {
    const auto event = job::parse_event(line);
    if (event && event->message == message) found.push_back(*event);
  }
  return found;
}

TEST_F(RunTest, TheModelSaysWhatItWasTrainedOn) {
  const auto place = directory("provenance");
  ASSERT_TRUE(run(place, job(2)));
  const auto model = read_model_file(place.model());
  ASSERT_TRUE(model);
  EXPECT_EQ(model->provenance.at("data_manifest_sha256"),
            to_hex(sha256(*read_file(place.data_manifest()))));
}

TEST_F(RunTest, DataThatShrankAreRefusedWhereTheRunGoesOn) {
  const auto place = directory("shrunk");
  ASSERT_TRUE(run(place, job(4)));
  const std::string manifest = *read_file(place.data_manifest());
  fs::remove(place.model());
  for (int i = 1; i < 30; ++i) {
    fs::remove(root_ / "corpus" / ("m" + std::to_string(i) + ".py"));
  }
  auto file = job(6);
  file.train().eval_tokens = 0;
  file.train().data.held_out = 0;
  const auto outcome = run(place, file);
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().param, "data");
  EXPECT_NE(outcome.error().message.find("put back what data-manifest.jsonl lists"),
            std::string::npos);
  EXPECT_TRUE(fs::exists(place_of(place, 4)));
  EXPECT_EQ(*read_file(place.data_manifest()), manifest);  // still what is to be put back
}

TEST_F(RunTest, ADamagedCheckpointIsSetAsideAndTheRunGoesOnFromTheOneBefore) {
  const auto straight = directory("straight");
  ASSERT_TRUE(run(straight, job(6)));
  const auto place = directory("damaged");
  auto first = job(6);
  first.train().checkpoint_seconds = 0;
  ASSERT_TRUE(run(place, first));
  fs::remove(place.model());
  fs::resize_file(place_of(place, 6) / "state.pt", 1000);
  ASSERT_TRUE(run(place, job(6)));
  EXPECT_EQ(events_with(place, "damaged checkpoints passed over: 00000006").size(), 1U);
  EXPECT_TRUE(fs::exists(place.checkpoints() / "damaged-00000006"));
  std::string skipped;
  const auto a = load_newest_checkpoint(straight.checkpoints(), skipped);
  const auto b = load_newest_checkpoint(place.checkpoints(), skipped);
  ASSERT_TRUE(a && b);
  EXPECT_EQ(skipped, "");
  EXPECT_TRUE(a->tensors.at("weights.blk.0.attn_q.weight")
                  .equal(b->tensors.at("weights.blk.0.attn_q.weight")));
}

// Beginning anew would throw away what the job was paid for, and say so in a warning alone.
TEST_F(RunTest, WithoutAWholeCheckpointTheRunDoesNotBeginAnew) {
  const auto place = directory("rotten");
  ASSERT_TRUE(run(place, job(4)));
  for (const auto& entry : fs::directory_iterator(place.checkpoints())) {
    fs::resize_file(entry.path() / "state.pt", 1000);
  }
  const auto outcome = run(place, job(6));
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().code, ErrorCode::corrupt);
  EXPECT_NE(outcome.error().message.find("00000004"), std::string::npos);
  EXPECT_TRUE(fs::exists(place_of(place, 4)));
}

TEST_F(RunTest, TheFlipComesOnceAtItsTokensAndSurvivesResuming) {
  auto file = job(8);
  file.train().quantization.flip_to_a4_at_tokens = 900;
  file.train().checkpoint_seconds = 0;
  const auto straight = directory("straight");
  ASSERT_TRUE(run(straight, file));
  const auto flips = events_with(straight, "activations flip from 8 bits to 4");
  ASSERT_EQ(flips.size(), 1U);
  const double step = flips[0].numbers.at("step");
  EXPECT_GE(flips[0].numbers.at("tokens"), 900);
  EXPECT_LT(flips[0].numbers.at("tokens"), 900 + 256);  // within the step that reached it
  ASSERT_LT(step, 7);

  // Killed before the flip, and after it: the same flip, the same bytes.
  for (const int from : {1, 7}) {
    const auto parts = directory("parts" + std::to_string(from));
    auto first = file;
    first.train().budget.max_steps = from;
    ASSERT_TRUE(run(parts, first));
    fs::remove(parts.model());
    ASSERT_TRUE(run(parts, file));
    std::string skipped;
    const auto a = load_newest_checkpoint(straight.checkpoints(), skipped);
    const auto b = load_newest_checkpoint(parts.checkpoints(), skipped);
    ASSERT_TRUE(a && b);
    const auto state = torch::tensor({4.0, 8.0, step, flips[0].numbers.at("tokens")}, at::kDouble);
    EXPECT_TRUE(a->tensors.at("run.quantization").equal(state));
    EXPECT_TRUE(b->tensors.at("run.quantization").equal(state));
    EXPECT_EQ(events_with(parts, flips[0].message).size(), 1U);
    const auto model = read_model_file(parts.model());
    ASSERT_TRUE(model);
    EXPECT_EQ(model->tensors.config.activation_bits, 4U);
    EXPECT_EQ(model->provenance.at("a4_from_step"), std::to_string(static_cast<int>(step)));
    const auto health = nlohmann::json::parse(*read_file(place_of(parts, 8) / "health.json"));
    EXPECT_EQ(health.at("activation_bits"), 4);
    EXPECT_EQ(health.at("flip_done"), true);
  }
}

TEST(Quantization, IsAFunctionOfStepAndTokens) {
  job::TrainSpec spec;
  spec.budget.max_tokens = 1000;
  spec.quantization.flip_to_a4_at_share = 0.9;
  spec.quantization.lambda_warmup_steps = 4;
  EXPECT_EQ(quantization_at(spec, 0, 0), (QuantizationPoint{8, 8, 0.0}));
  EXPECT_EQ(quantization_at(spec, 3, 899), (QuantizationPoint{8, 8, 0.75}));
  EXPECT_EQ(quantization_at(spec, 4, 900), (QuantizationPoint{4, 8, 1.0}));
  spec.quantization.keep_a8_before_down = false;
  EXPECT_EQ(quantization_at(spec, 4, 900), (QuantizationPoint{4, 4, 1.0}));
}

TEST_F(RunTest, ADenseStudentIsConvertedByAWarmUp) {
  auto dense = job(30);
  dense.train().quantized = false;
  const auto teacher = directory("dense");
  ASSERT_TRUE(run(teacher, dense));
  auto file = job(12);
  file.init_checkpoints = teacher.checkpoints().string();
  file.train().quantization.lambda_warmup_steps = 8;
  file.train().log_every = 1;
  const auto place = directory("converted");
  ASSERT_TRUE(run(place, file));
  const std::string events = *read_file(place.events());
  EXPECT_NE(events.find("\"quantization\":0.5"), std::string::npos);
  const auto loaded = load_model(place.model());
  ASSERT_TRUE(loaded) << loaded.error().message;
  EXPECT_EQ((*loaded)->config.weights, WeightKind::ternary);
}

class RuleOfWeights : public RunTest, public ::testing::WithParamInterface<job::WeightRule> {
 protected:
  job::JobFile job(uint64_t max_steps) const {
    auto file = RunTest::job(max_steps);
    file.train().data.fim_rate = 0;
    file.train().quantization.weights = GetParam();
    file.train().quantization.tequila_lambda = 0.01;
    file.train().log_every = 1;
    return file;
  }
};

TEST_P(RuleOfWeights, LossFallsHealthIsWatchedAndTheEngineSpeaksAsTheStudent) {
  const auto file = job(60);
  expect_engine_speaks_as_student(file, file.train().model);
  const auto place = directory("job");
  std::vector<double> losses;
  std::istringstream lines(*read_file(place.events()));
  for (std::string line; std::getline(lines, line);) {
    const auto event = job::parse_event(line);
    if (!event) continue;
    EXPECT_EQ(event->level, job::EventLevel::info) << line;  // no alarm
    if (event->type != job::EventType::metrics) continue;
    if (event->numbers.contains("loss")) losses.push_back(event->numbers.at("loss"));
    if (!event->numbers.contains("zero_fraction")) continue;
    EXPECT_GT(event->numbers.at("zero_fraction"), 0.05);
    EXPECT_LT(event->numbers.at("zero_fraction"), 0.8);
  }
  ASSERT_GT(losses.size(), 40U);
  EXPECT_LT(losses.back(), 0.7 * losses.front());
  const auto loaded = load_model(place.model());
  ASSERT_TRUE(loaded);
  for (const LayerWeights& layer : (*loaded)->layers) {
    for (const PanelMatrix* matrix : {&layer.qkv, &layer.o, &layer.gate_up, &layer.down}) {
      EXPECT_EQ(matrix->bias.empty(), GetParam() != job::WeightRule::tequila);
    }
  }
}

TEST_P(RuleOfWeights, AResumedRunEqualsAStraightOneBitForBit) {
  ASSERT_TRUE(run(directory("straight"), job(4)));
  const auto parts = directory("parts");
  run_in_two_parts(parts, job(4));
  EXPECT_EQ(*read_file(directory("straight").model()), *read_file(parts.model()));
}

// First weights of a dense job, or smaller ones, are no reason for scales of other weights.
TEST_P(RuleOfWeights, ScalesStartFromTheFirstWeightsWhateverTheyAre) {
  auto small = job(1);
  small.train().init_scale = 0.01;
  small.train().optimizer.lr = small.train().optimizer.adamw_lr = 1e-6;
  auto dense = small;
  dense.train().quantization = {};
  dense.train().quantized = false;
  ASSERT_TRUE(run(directory("dense"), dense));
  auto converted = small;
  converted.train().init_scale = 1;
  converted.init_checkpoints = directory("dense").checkpoints().string();
  for (const auto& [name, file] : {std::pair{"small", small}, std::pair{"converted", converted}}) {
    ASSERT_TRUE(run(directory(name), file)) << name;
    const Student student =
        trained_student(directory(name), file.train().model, file.train().quantization);
    const LinearWeight& q = student.blocks()[0].q;
    const double zeros = q.values().eq(0).to(at::kDouble).mean().item<double>();
    // Of Gaussian weights at their own scale.
    EXPECT_NEAR(zeros, GetParam() == job::WeightRule::twn ? 0.42 : 0.31, 0.1) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(All, RuleOfWeights,
                         ::testing::Values(job::WeightRule::twn, job::WeightRule::lsq,
                                           job::WeightRule::seq, job::WeightRule::tequila));

// By the largest magnitude of an activation.
class Accumulators : public ::testing::TestWithParam<float> {};

TEST_P(Accumulators, AreTheSameInTrainerAndEngine) {
  at::manual_seed(7);
  LinearWeight weight(at::randn({96, 512}).set_requires_grad(true), LinearMode::ternary,
                      at::kFloat);
  weight.refresh();
  const QuantizedTokens x = quantize_tokens(at::randn({33, 512}) * 3, GetParam());
  const torch::Tensor trainer = integer_accumulators(x, weight);

  const int8_t* values = weight.values().data_ptr<int8_t>();
  const IntegerMatrix matrix{
      .rows = 96, .cols = 512, .values = {values, values + 96 * 512}, .scale = {1.0F}};
  const EnginePanels packed(matrix);
  const PanelMatrix& panels = packed.matrix();
  for (const auto* const* table = kernels::runnable(); *table != nullptr; ++table) {
    torch::Tensor engine = at::empty({33, 96}, at::kInt);
    for (int64_t t = 0; t < 33; ++t) {  // a tile of one token is a plain row
      (*table)->linear({.x = {x.values.data_ptr<int8_t>() + t * 512, x.scale.data_ptr<float>() + t,
                              x.sum.data_ptr<int32_t>() + t, 1},
                        .kind = panels.kind,
                        .panels = panels.data,
                        .cols = panels.cols,
                        .panel_begin = 0,
                        .panel_end = panels.n_panels(),
                        .scale = panels.scale.data(),
                        .finish = kernels::Finish::sums,
                        .out = engine.data_ptr<int32_t>() + t * 96,
                        .ld_out = 96});
    }
    EXPECT_TRUE(trainer.equal(engine)) << (*table)->isa;
  }
  const auto exact = at::mm(x.values.to(at::kDouble), weight.values().to(at::kDouble).t());
  EXPECT_TRUE(trainer.to(at::kDouble).equal(exact));
}

INSTANTIATE_TEST_SUITE_P(EightAndFourBits, Accumulators, ::testing::Values(127.0F, 7.0F));

TEST_F(RunTest, TracesTeachAndAForeignTokenizerIsRefused) {
  const auto shard = root_ / "00000.shard";
  trace::Record record;
  record.tokenizer = test::tiny_tokenizer()->fingerprint();
  record.teacher = "t";
  for (int i = 0; i < 200; ++i) record.tokens.push_back(i % 50 + 10);
  record.top_logprobs.resize(200);
  for (size_t i = 1; i < 200; ++i) record.top_logprobs[i] = {{record.tokens[i], -0.05F}};
  ASSERT_TRUE(trace::append_records(shard, std::vector{record}));
  auto file = job(4);
  file.trace_shards = {shard.string()};
  const auto place = directory("traces");
  ASSERT_TRUE(run(place, file));
  EXPECT_NE(read_file(place.events())->find("\"kd\""), std::string::npos);

  record.tokenizer = std::string(64, 'a');
  ASSERT_TRUE(trace::append_records(shard, std::vector{record}));
  const auto refused = run(directory("refused"), file);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().param, "data.traces");
}

// The settings of the loss arrive at it, and traces that cannot serve them are refused.
TEST_F(RunTest, TheTailAskedForMustBeInTheTraces) {
  const auto shard = root_ / "00000.shard";
  trace::Record record;
  record.tokenizer = test::tiny_tokenizer()->fingerprint();
  record.teacher = "t";
  record.sampling = trace::Sampling::t1;
  for (int i = 0; i < 200; ++i) record.tokens.push_back(i % 50 + 10);
  record.top_logprobs.resize(200);
  for (size_t i = 1; i < 200; ++i) record.top_logprobs[i] = {{record.tokens[i], -0.05F}};
  ASSERT_TRUE(trace::append_records(shard, std::vector{record}));
  auto file = job(2);
  file.trace_shards = {shard.string()};
  file.train().loss.format_weight = 0.2;
  file.train().loss.distillation.tail = job::Tail::sampled;
  const auto place = directory("sampled");
  ASSERT_TRUE(run(place, file));
  EXPECT_NE(read_file(place.events())->find("\"format\""), std::string::npos);

  file.train().loss.distillation.tail = job::Tail::counts;
  auto refused = run(directory("counts"), file);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().param, "data.traces");
  EXPECT_NE(refused.error().message.find("loss.tail"), std::string::npos);

  record.sampling = trace::Sampling::greedy;
  ASSERT_TRUE(trace::append_records(shard, std::vector{record}));
  file.train().loss.distillation.tail = job::Tail::sampled;
  refused = run(directory("greedy"), file);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().param, "data.traces");
  EXPECT_NE(refused.error().message.find("loss.tail"), std::string::npos);
}

TEST_F(RunTest, AWrongVocabularyIsNamed) {
  auto file = job(4);
  file.train().model.vocab_size = 64;
  const auto refused = run(directory("vocab"), file);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().param, "model.vocab_size");
}

TEST_F(RunTest, ADenseTeacherIsExportedAsInt8AndServed) {
  auto file = job(10);
  file.train().quantized = false;
  const auto place = directory("dense");
  ASSERT_TRUE(run(place, file));
  const auto loaded = load_model(place.model());
  ASSERT_TRUE(loaded) << loaded.error().message;
  EXPECT_EQ((*loaded)->config.weights, WeightKind::int8);
}

// The recipe of distillix on matrices that are small from the start and have no sub-norms.
job::JobFile collapsing(job::JobFile file) {
  file.train().model.sub_norm = false;
  file.train().init_scale = 1e-3;
  file.train().precision = job::Precision::fp32;
  file.train().optimizer.kind = job::OptimizerKind::distillix_muon;
  file.train().optimizer.weight_decay = 0.1;
  file.train().log_every = 10;
  file.train().eval_tokens = 0;
  file.train().checkpoint_seconds = 1e6;
  return file;
}

// Events with texts.alarm, as alarm -> step of the first.
std::map<std::string, double> alarms_of(const job::JobDirectory& place) {
  std::map<std::string, double> found;
  std::istringstream lines(*read_file(place.events()));
  for (std::string line; std::getline(lines, line);) {
    const auto event = job::parse_event(line);
    EXPECT_TRUE(event);
    if (!event->texts.contains("alarm")) continue;
    found.emplace(event->texts.at("alarm"), event->numbers.at("step"));
  }
  return found;
}

TEST_F(RunTest, TheRecipeOfDistillixCollapsesAndTheDetectorTellsWithin200Steps) {
  auto file = collapsing(job(200));
  file.train().health.action = job::HealthAction::warn;
  const auto place = directory("distillix");
  ASSERT_TRUE(run(place, file));
  const auto alarms = alarms_of(place);
  ASSERT_TRUE(alarms.contains("decay_only"));
  EXPECT_LE(alarms.at("decay_only"), 200);
}

TEST_F(RunTest, OursComesOutOfTheSameStartAndFromItsOwnRaisesNoAlarm) {
  auto file = collapsing(job(200));
  file.train().model.sub_norm = true;
  file.train().optimizer = {.kind = job::OptimizerKind::muon, .weight_decay = 0.1};
  for (const double scale : {1e-3, 1.0}) {
    file.train().init_scale = scale;
    const auto place = directory("ours" + std::to_string(scale));
    const auto outcome = run(place, file);
    ASSERT_TRUE(outcome);
    EXPECT_EQ(*outcome, Outcome::succeeded) << scale << " " << outcome->alarm.code;
    const auto alarms = alarms_of(place);
    EXPECT_FALSE(alarms.contains("decay_only"));
    if (scale == 1.0) {
      EXPECT_TRUE(alarms.empty()) << alarms.begin()->first;
    }
  }
}

TEST_F(RunTest, ACollapsedRunPausesAndItsHealthyWeightsStandAgainBitForBit) {
  const auto file = collapsing(job(400));
  const auto place = directory("collapsed");
  const auto outcome = run(place, file);
  ASSERT_TRUE(outcome) << outcome.error().message;
  ASSERT_EQ(*outcome, Outcome::paused);
  EXPECT_FALSE(outcome->alarm.param.empty());
  EXPECT_NE(outcome->alarm.message.find("step 0"), std::string::npos) << outcome->alarm.message;
  EXPECT_FALSE(fs::exists(place.model()));
  std::string skipped;
  const auto checkpoint = load_newest_checkpoint(place.checkpoints(), skipped);
  ASSERT_TRUE(checkpoint);
  EXPECT_EQ(checkpoint->step, 0);
  const Student first(file.train().model, true, at::kFloat, file.train().seed);
  for (const NamedParameter& parameter : first.parameters()) {
    const double scale = parameter.is_matrix ? file.train().init_scale : 1.0;
    EXPECT_TRUE((parameter.tensor.detach() * scale)
                    .equal(checkpoint->tensors.at("weights." + parameter.name)))
        << parameter.name;
  }
}

TEST_F(RunTest, CheckpointsSayHowTheRunIs) {
  const auto place = directory("health");
  ASSERT_TRUE(run(place, job(6)));
  const auto text = read_file(place.checkpoints() / "00000006" / "health.json");
  ASSERT_TRUE(text);
  EXPECT_TRUE(*job::read_healthy(*text));
  for (const char* key : {"seen_tokens", "flip_done", "activation_bits", "last_loss", "timestamp",
                          "loss_ema", "zero_fraction", "blk.1.ffn_down.weight"}) {
    EXPECT_NE(text->find('"' + std::string(key) + '"'), std::string::npos) << key;
  }
  for (const char* key : {"grad_norm", "tokens_per_second", "resident_bytes"}) {
    EXPECT_NE(text->find('"' + std::string(key) + "\": "), std::string::npos) << key;
    EXPECT_EQ(text->find('"' + std::string(key) + "\": null"), std::string::npos) << key;
  }
}

Checkpoint checkpoint_of(int64_t step, bool healthy) {
  Checkpoint checkpoint;
  checkpoint.step = step;
  at::manual_seed(static_cast<uint64_t>(step));
  checkpoint.tensors["w"] = at::randn({7});
  checkpoint.health.healthy = healthy;
  return checkpoint;
}

TEST_F(RunTest, RollingBackPassesOverWhatWasUnhealthyOrIsDamaged) {
  const auto folder = directory("rolls").checkpoints();
  const auto first = checkpoint_of(1, true);
  for (const auto& made : {first, checkpoint_of(2, true), checkpoint_of(3, false),
                           checkpoint_of(4, false), checkpoint_of(5, false)}) {
    ASSERT_TRUE(save_checkpoint(folder, made, {}));
  }
  EXPECT_FALSE(fs::exists(folder / "00000001"));
  EXPECT_TRUE(fs::exists(folder / "00000002"));  // healthy, so kept beyond the newest two
  EXPECT_FALSE(fs::exists(folder / "00000003"));
  EXPECT_EQ(roll_back(folder), 2);
  std::string skipped;
  const auto newest = load_newest_checkpoint(folder, skipped);
  ASSERT_TRUE(newest);
  EXPECT_TRUE(newest->tensors.at("w").equal(checkpoint_of(2, true).tensors.at("w")));

  fs::remove(folder / "00000002" / "state.pt");
  ASSERT_TRUE(save_checkpoint(folder, checkpoint_of(3, false), {}));
  EXPECT_EQ(roll_back(folder), std::nullopt);
  EXPECT_TRUE(fs::exists(folder / "00000003"));
}

}  // namespace
}  // namespace tristill::train
