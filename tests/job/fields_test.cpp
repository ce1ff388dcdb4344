// The refusals of job bodies, field by field.
#include "train/job/fields.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/atomic_file.h"
#include "base/utf8.h"
#include "train/job/spec.h"

namespace tristill::job {
namespace {

using nlohmann::json;

json tiny() {
  const auto path = std::filesystem::path(TRISTILL_SOURCE_DIR) / "configs/jobs/train-tiny.json";
  return json::parse(*read_file(path));
}

// The example with the value at a JSON pointer replaced.
std::string with(const std::string& pointer, const json& value) {
  json body = tiny();
  body[json::json_pointer(pointer)] = value;
  return body.dump();
}

std::string param_of(const std::string& pointer) {
  std::string param = pointer.substr(1);
  std::replace(param.begin(), param.end(), '/', '.');
  return param;
}

void expect_refused(const std::string& pointer, const json& value) {
  const auto spec = parse_train_spec(with(pointer, value));
  ASSERT_FALSE(spec) << pointer << " = " << value;
  EXPECT_EQ(spec.error().code, ErrorCode::invalid_argument);
  EXPECT_EQ(spec.error().param, param_of(pointer)) << spec.error().message;
  EXPECT_NE(spec.error().message.find(spec.error().param), std::string::npos);
  EXPECT_NE(spec.error().message.find("accepted is"), std::string::npos) << spec.error().message;
}

// Whole numbers with their range; beyond it, fractions and other types are refused.
TEST(TrainSpecFields, WholeNumbersOutsideTheirRangeAreRefused) {
  const struct {
    const char* pointer;
    int64_t low, high;
  } fields[] = {{"/model/n_layers", 1, 512},
                {"/model/d_model", 16, 65536},
                {"/model/d_ff", 16, 262144},
                {"/model/n_heads", 1, 1024},
                {"/model/n_kv_heads", 1, 1024},
                {"/model/head_dim", 2, 1024},
                {"/model/vocab_size", 2, 1 << 21},
                {"/model/max_context", 1, 1 << 22},
                {"/tokenizer/vocab_size", 300, 1 << 18},
                {"/budget/max_steps", 1, int64_t{1} << 40},
                {"/budget/max_tokens", 1, int64_t{1} << 50},
                {"/optimizer/newton_schulz_steps", 1, 20},
                {"/health/patience_steps", 1, 1 << 20},
                {"/quantization/flip_to_a4_at_tokens", 1, int64_t{1} << 50},
                {"/quantization/lambda_warmup_steps", 0, 1 << 30},
                {"/quantization/activation_bits", 4, 8},
                {"/batch_tokens", 16, 1 << 24},
                {"/sequence_length", 16, 1 << 20},
                {"/micro_batches", 1, 1 << 16},
                {"/ranks", 1, 1 << 10},
                {"/lora/rank", 1, 65536},
                {"/seed", 0, int64_t{1} << 53},
                {"/threads", 0, 1024},
                {"/log_every", 1, 1 << 20},
                {"/checkpoint_steps", 0, 1 << 30},
                {"/eval_tokens", 0, 1 << 30},
                {"/eval_every", 0, 1 << 30}};
  for (const auto& field : fields) {
    for (const json& bad : {json(field.low - 1), json(field.high + 1), json(UINT64_MAX),
                            json(INT64_MIN), json(1.5), json("4"), json(true), json::array()}) {
      expect_refused(field.pointer, bad);
    }
  }
}

TEST(TrainSpecFields, NumbersOutsideTheirRangeAreRefused) {
  const struct {
    const char* pointer;
    double low, high;
  } fields[] = {{"/model/rope_theta", 1, 1e12},
                {"/model/norm_eps", 1e-12, 0.1},
                {"/model/logit_softcap", 0, 1e4},
                {"/model/attention_softcap", 0, 1e4},
                {"/quantization/flip_to_a4_at_share", 1e-6, 1},
                {"/quantization/tequila_lambda", 1e-6, 1},
                {"/data/trace_weight", 1e-6, 1e6},
                {"/data/fim_rate", 0, 1},
                {"/data/spm_rate", 0, 1},
                {"/data/held_out", 0, 0.9},
                {"/data/near_duplicate", 0, 1},
                {"/budget/max_seconds", 0.1, 3.2e7},
                {"/optimizer/lr", 1e-8, 10},
                {"/optimizer/adamw_lr", 1e-8, 10},
                {"/optimizer/weight_decay", 0, 10},
                {"/optimizer/grad_clip", 0, 1e6},
                {"/optimizer/warmup", 0, 1},
                {"/optimizer/warmdown", 0, 1},
                {"/optimizer/lr_floor", 0, 1},
                {"/optimizer/second_peak", 0, 1},
                {"/optimizer/polarize_target", 1e-6, 100},
                {"/optimizer/polarize_strength", 1e-6, 10},
                {"/optimizer/spin_threshold", 0, 100},
                {"/optimizer/spin_tunnel", 0, 100},
                {"/optimizer/spin_momentum", 0, 0.9999},
                {"/optimizer/sgld_temperature", 0, 100},
                {"/optimizer/fogzo_beta", 0.5, 1},
                {"/lora/alpha", 1e-3, 1e6},
                {"/init_scale", 1e-9, 1e3},
                {"/loss/ce_weight", 0, 1e3},
                {"/loss/kd_weight", 0, 1e3},
                {"/loss/z_loss", 0, 1},
                {"/loss/label_smoothing", 0, 0.9},
                {"/loss/focal_gamma", 0, 10},
                {"/loss/temperature", 0.1, 100},
                {"/loss/jsd_beta", 1e-3, 0.999},
                {"/loss/skew_alpha", 1e-3, 0.999},
                {"/loss/format_weight", 0, 1e3},
                {"/checkpoint_seconds", 0, 3.2e7}};
  for (const auto& field : fields) {
    for (const json& bad : {json(field.low - 1e-3), json(field.high * 1.01), json(-1), json("1"),
                            json(false), json::object()}) {
      if (bad.is_number() && bad >= field.low && bad <= field.high) continue;
      expect_refused(field.pointer, bad);
    }
  }
}

TEST(TrainSpecFields, OtherTypesAreRefused) {
  for (const char* flag :
       {"/quantized", "/gradient_checkpointing", "/model/qk_norm", "/model/sub_norm",
        "/model/tied_embeddings", "/optimizer/norm_pinning", "/optimizer/polarize_absolute",
        "/optimizer/spin_absolute", "/model/ternary_attention", "/model/ternary_mlp",
        "/quantization/keep_a8_before_down"}) {
    for (const json& bad : {json(1), json("true"), json::array()}) expect_refused(flag, bad);
  }
  for (const char* name :
       {"/kind", "/model/activation", "/model/weights", "/optimizer/kind", "/optimizer/schedule",
        "/optimizer/weight_decay_schedule", "/optimizer/polarize", "/health/action", "/precision",
        "/device", "/loss/divergence", "/quantization/weights"}) {
    for (const json& bad : {json("other"), json(""), json(1)}) expect_refused(name, bad);
  }
  for (const json& bad : {json("none"), json(""), json(1)}) expect_refused("/loss/tail", bad);
  for (const char* name : {"/name", "/init_from", "/tokenizer/from_model"}) {
    for (const json& bad :
         {json(""), json("a/b"), json(".."), json("a b"), json(std::string(65, 'a')),
          json("caf\xC3\xA9"), json(std::string("a\0b", 3)), json(7)}) {
      expect_refused(name, bad);
    }
  }
  for (const char* object : {"/model", "/data", "/budget", "/optimizer", "/health", "/loss",
                             "/tokenizer", "/quantization", "/lora"}) {
    for (const json& bad : {json("starter"), json(1), json::array({1})})
      expect_refused(object, bad);
  }
  for (const json& bad : {json("x"), json::object(), json(std::vector<int>(65))}) {
    expect_refused("/data/corpora", bad);
  }
  for (const json& bad : {json("t"), json::array({1}), json::array({"../t"})}) {
    expect_refused("/data/traces", bad);
  }
}

TEST(TrainSpecFields, SettingsOfQuantisationThatContradictAreRefusedWithARemedy) {
  const struct {
    json changes;
    const char* param;
    const char* remedy;
  } cases[] = {
      {{{"/quantization", {{"activation_bits", 6}}}}, "quantization.activation_bits", "8, 4"},
      {{{"/quantization", {{"flip_to_a4_at_tokens", 9}, {"flip_to_a4_at_share", 0.5}}}},
       "quantization.flip_to_a4_at_share",
       "give one of them"},
      {{{"/quantization", {{"flip_to_a4_at_tokens", 9}, {"activation_bits", 4}}}},
       "quantization.flip_to_a4_at_tokens",
       "leave one of them out"},
      {{{"/quantization", {{"flip_to_a4_at_share", 0.5}}}},
       "quantization.flip_to_a4_at_share",
       "budget.max_tokens"},
      {{{"/quantization", {{"flip_to_a4_at_tokens", 100}}}, {"/budget", {{"max_tokens", 100}}}},
       "quantization.flip_to_a4_at_tokens",
       "lower it"},
      {{{"/quantization", {{"flip_to_a4_at_share", 1.0}}}, {"/budget", {{"max_tokens", 100}}}},
       "quantization.flip_to_a4_at_share",
       "lower it"},
      {{{"/quantization", {{"keep_a8_before_down", false}}}},
       "quantization.keep_a8_before_down",
       "leave it out"},
      {{{"/quantization", {{"keep_a8_before_down", false}, {"activation_bits", 4}}},
        {"/model/ternary_mlp", false}},
       "quantization.keep_a8_before_down",
       "model.ternary_mlp"},
      {{{"/quantization", {{"lambda_warmup_steps", 10}}}, {"/budget", {{"max_steps", 10}}}},
       "quantization.lambda_warmup_steps",
       "lower it"},
      {{{"/quantization", {{"weights", "lsq"}, {"lambda_warmup_steps", 10}}}},
       "quantization.lambda_warmup_steps",
       "leave it out, or set weights to absmean"},
      {{{"/quantization", {{"weights", "seq"}, {"tequila_lambda", 0.01}}}},
       "quantization.tequila_lambda",
       "needs quantization.weights tequila; leave it out"},
      {{{"/quantization", {{"tequila_lambda", 0.01}}}},
       "quantization.tequila_lambda",
       "needs quantization.weights tequila; leave it out"},
      {{{"/quantization", {{"weights", "tequila"}}}, {"/quantized", false}},
       "quantization",
       "quantized to true"},
      {{{"/quantization", {{"activation_bits", 4}}}, {"/quantized", false}},
       "quantization",
       "quantized to true"},
      {{{"/model/ternary_mlp", false}, {"/model/ternary_attention", false}},
       "model.ternary_mlp",
       "int8"},
      {{{"/model/ternary_mlp", false}, {"/quantized", false}}, "model.ternary_mlp", "ternary"},
      {{{"/model/attention_softcap", 0.001}}, "model.attention_softcap", "0.01"}};
  for (const auto& expected : cases) {
    json body = tiny();
    for (const auto& [pointer, value] : expected.changes.items()) {
      body[json::json_pointer(pointer)] = value;
    }
    const auto spec = parse_train_spec(body.dump());
    ASSERT_FALSE(spec) << expected.changes;
    EXPECT_EQ(spec.error().param, expected.param) << spec.error().message;
    EXPECT_NE(spec.error().message.find(expected.remedy), std::string::npos)
        << spec.error().message;
  }
}

TEST(TrainSpecFields, RulesOfWeightsComeBackWithTheSettingsTheyUse) {
  for (const char* rule : {"absmean", "twn", "lsq", "seq", "tequila"}) {
    const auto spec = parse_train_spec(with("/quantization", {{"weights", rule}}));
    ASSERT_TRUE(spec) << spec.error().message;
    const std::string text = format_train_spec(*spec);
    const json back = json::parse(text).at("quantization");
    EXPECT_EQ(back.at("weights"), rule);
    EXPECT_EQ(back.contains("tequila_lambda"), rule == std::string("tequila"));
    const auto again = parse_train_spec(text);
    ASSERT_TRUE(again) << again.error().message;
    EXPECT_EQ(format_train_spec(*again), text);
  }
}

// The example as a job that adapts a model: its narrowest matrices have 128 rows.
json adapting() {
  json body = tiny();
  body["quantized"] = false;
  body["init_from_weights"] = "published";
  body["lora"] = {{"rank", 8}};
  return body;
}

TEST(TrainSpecFields, LowRankAdaptationComesBackWithItsDefaultsFilledIn) {
  const auto spec = parse_train_spec(adapting().dump());
  ASSERT_TRUE(spec) << spec.error().message;
  ASSERT_TRUE(spec->lora);
  EXPECT_EQ(spec->lora->rank, 8U);
  EXPECT_EQ(spec->lora->alpha, 16);
  EXPECT_EQ(spec->lora->scale(), 2);
  EXPECT_EQ(spec->lora->targets.size(), 7U);
  EXPECT_EQ(spec->optimizer.kind, OptimizerKind::adamw);
  EXPECT_EQ(spec->optimizer.adamw_lr, 2e-4);
  const std::string text = format_train_spec(*spec);
  const auto again = parse_train_spec(text);
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(format_train_spec(*again), text);

  json body = adapting();
  body["lora"] = {{"rank", 4}, {"alpha", 6}, {"targets", {"attn_v", "attn_q"}}};
  body["optimizer"] = {{"kind", "adamw"}, {"adamw_lr", 1e-3}};
  const auto chosen = parse_train_spec(body.dump());
  ASSERT_TRUE(chosen) << chosen.error().message;
  EXPECT_EQ(chosen->lora->scale(), 1.5);
  EXPECT_EQ(chosen->optimizer.adamw_lr, 1e-3);
  EXPECT_EQ(json::parse(format_train_spec(*chosen))["lora"], body["lora"]);
  EXPECT_FALSE(json::parse(format_train_spec(*parse_train_spec(tiny().dump()))).contains("lora"));
}

TEST(TrainSpecFields, LowRankAdaptationThatCannotBeIsRefusedWithARemedy) {
  const struct {
    const char *pointer, *value;  // of the change, as JSON
    const char* param;
    const char* remedy;
  } cases[] = {
      {"/quantized", "true", "lora", "set quantized to false"},
      {"/init_from_weights", "null", "lora", "give init_from_weights or init_from"},
      {"/lora", "{}", "lora.rank", "missing"},
      {"/lora/rank", "129", "lora.rank", "smallest side of the targets is 128"},
      {"/lora/targets", R"(["attn_q", "output"])", "lora.targets", "ffn_gate"},
      {"/lora/targets", R"(["attn_q", "attn_q"])", "lora.targets", "each once"},
      {"/lora/targets", "[]", "lora.targets", "at least one"},
      {"/lora/targets", R"("attn_q")", "lora.targets", "accepted is"},
      {"/lora/dropout", "0.1", "lora.dropout", "no known field"},
      {"/optimizer", R"({"kind": "muon"})", "optimizer.kind", "set adamw"},
      {"/optimizer", R"({"kind": "spin"})", "optimizer.kind", "set adamw"},
      {"/optimizer", R"({"norm_pinning": true})", "optimizer.norm_pinning", "leave it out"},
      {"/optimizer", R"({"polarize": "double_well"})", "optimizer.polarize", "off"},
      {"/quantization", R"({"lambda_warmup_steps": 5})", "quantization", "leave it out"},
      {"/quantization", R"({"weights": "lsq"})", "quantization", "leave it out"},
      {"/init_scale", "0.5", "init_scale", "leave one out"},
      {"/precision", R"("fp16")", "quantized", "bf16"}};
  for (const auto& expected : cases) {
    json body = adapting();
    body[json::json_pointer(expected.pointer)] = json::parse(expected.value);
    const auto spec = parse_train_spec(body.dump());
    ASSERT_FALSE(spec) << expected.pointer << " = " << expected.value;
    EXPECT_EQ(spec.error().param, expected.param) << spec.error().message;
    EXPECT_NE(spec.error().message.find(expected.remedy), std::string::npos)
        << spec.error().message;
  }
  json wide = adapting();
  wide["lora"] = {{"rank", 200}, {"targets", {"attn_q", "ffn_up"}}};
  EXPECT_TRUE(parse_train_spec(wide.dump()));  // 256 x 256
}

TEST(TrainSpecFields, UnknownFieldsAreRefusedAtEveryLevelAndShownShort) {
  for (const char* pointer :
       {"/surprise", "/model/surprise", "/tokenizer/surprise", "/data/surprise", "/budget/surprise",
        "/optimizer/surprise", "/health/surprise", "/loss/surprise", "/quantization/surprise"}) {
    const auto spec = parse_train_spec(with(pointer, 1));
    ASSERT_FALSE(spec) << pointer;
    EXPECT_EQ(spec.error().param, param_of(pointer));
  }
  const auto spec = parse_train_spec(
      with("/" + std::string(63, 'a') + "\xE2\x82\xAC" + std::string(99999, 'b'), 1));
  ASSERT_FALSE(spec);
  EXPECT_LT(spec.error().message.size(), 200U);
  EXPECT_TRUE(utf8_is_valid(spec.error().message));
}

TEST(TrainSpecFields, MissingFieldsAreNamed) {
  for (const char* pointer : {"/kind", "/name", "/model", "/model/d_ff", "/model/max_context"}) {
    json body = tiny();
    const json::json_pointer where(pointer);
    body[where.parent_pointer()].erase(where.back());
    const auto spec = parse_train_spec(body.dump());
    ASSERT_FALSE(spec) << pointer;
    EXPECT_EQ(spec.error().param, param_of(pointer));
    EXPECT_NE(spec.error().message.find("missing"), std::string::npos);
  }
}

TEST(TrainSpecFields, WhatIsRightAloneButWrongTogetherIsNamed) {
  const struct {
    const char* pointer;
    json value;
    const char* param;
  } cases[] = {{"/data/corpora", json::array(), "data"},
               {"/budget", json::object(), "budget"},
               {"/sequence_length", 512, "sequence_length"},
               {"/batch_tokens", 64, "batch_tokens"},
               {"/optimizer/warmdown", 0.99, "optimizer.warmdown"},
               {"/model/vocab_size", 1100, "model.vocab_size"},
               {"/model/n_kv_heads", 3, "model.n_kv_heads"},
               {"/model/head_dim", 63, "model.head_dim"},
               {"/model/d_ff", 300, "model.d_ff"}};
  for (const auto& c : cases) {
    const auto spec = parse_train_spec(with(c.pointer, c.value));
    ASSERT_FALSE(spec) << c.pointer;
    EXPECT_EQ(spec.error().param, c.param) << spec.error().message;
  }
}

// Of a job that is new: what an earlier version stored is read as before.
TEST(TrainSpecFields, WhatWouldDoNothingBesideTheOthersIsNamed) {
  const auto param = [](const json& body) {
    const auto spec = parse_train_spec(body.dump());
    EXPECT_TRUE(spec) << spec.error().message;
    const auto ok = check_idle(*spec);
    return ok ? "" : ok.error().param;
  };
  EXPECT_EQ(param(json::parse(with("/batch_tokens", 2000))), "batch_tokens");
  EXPECT_EQ(param(json::parse(with("/data/trace_weight", 2))), "data.trace_weight");
  const json health = {{"action", "warn"}, {"patience_steps", 9}};
  EXPECT_EQ(param(json::parse(with("/health", health))), "health.patience_steps");
  json body = tiny();
  body["eval_tokens"] = 0;
  EXPECT_EQ(param(body), "");
  body["eval_every"] = 10;
  EXPECT_EQ(param(body), "eval_every");
  body = tiny();
  body["data"]["held_out"] = 0;
  body["data"]["near_duplicate"] = 0;
  EXPECT_EQ(param(body), "");
  body["data"]["near_duplicate"] = 0.5;
  EXPECT_EQ(param(body), "data.near_duplicate");
}

// Of a job that is new, likewise.
TEST(TrainSpecFields, NormPinningIsNotForLearnedScales) {
  for (const auto& [rule, learned] : {std::pair{"absmean", false},
                                      {"twn", false},
                                      {"tequila", false},
                                      {"lsq", true},
                                      {"seq", true}}) {
    json body = tiny();
    body["quantization"] = {{"weights", rule}};
    body["optimizer"] = {{"norm_pinning", true}};
    const auto spec = parse_train_spec(body.dump());
    ASSERT_TRUE(spec) << spec.error().message;
    const auto ok = check_idle(*spec);
    ASSERT_EQ(!ok, learned) << rule;
    if (!learned) continue;
    EXPECT_EQ(ok.error().param, "optimizer.norm_pinning");
    EXPECT_NE(ok.error().message.find("set it to false"), std::string::npos);
  }
}

TEST(TrainSpecFields, PublishedWeightsNeedATokenizerThatIsThere) {
  json body = adapting();
  const auto trained = parse_train_spec(body.dump());
  ASSERT_TRUE(trained) << trained.error().message;
  const auto refused = check_idle(*trained);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().param, "tokenizer.from_weights");
  for (const char* source : {"from_weights", "from_model", "from_job"}) {
    body["tokenizer"] = {{source, "published"}};
    const auto spec = parse_train_spec(body.dump());
    ASSERT_TRUE(spec) << spec.error().message;
    EXPECT_TRUE(check_idle(*spec)) << source;
    EXPECT_EQ(json::parse(format_train_spec(*spec))["tokenizer"][source], "published");
  }
}

// What another choice would read, and what contradicts a choice, is refused with the remedy.
TEST(TrainSpecFields, SettingsOfAnotherMethodAndContradictionsAreNamed) {
  const struct {
    json optimizer;
    const char* param;
    const char* remedy;
  } cases[] = {
      {{{"lr_floor", 0.1}}, "lr_floor", "schedule cosine"},
      {{{"kind", "adamw"}, {"lr", 0.1}}, "lr", "set optimizer.adamw_lr"},
      {{{"kind", "spin"}, {"newton_schulz_steps", 3}}, "newton_schulz_steps", "kind muon"},
      {{{"second_peak", 0.5}}, "second_peak", "schedule two_stage"},
      {{{"schedule", "cosine"}, {"warmdown", 0.1}}, "warmdown", "schedule wsd"},
      {{{"polarize_target", 1}}, "polarize_target", "polarize"},
      {{{"spin_tunnel", 1}}, "spin_tunnel", "kind spin"},
      {{{"sgld_temperature", 1}}, "sgld_temperature", "kind sgld"},
      {{{"schedule", "two_stage"}, {"warmup", 0.6}}, "warmup", "at most 0.5"},
      {{{"weight_decay_schedule", "two_stage"}}, "weight_decay_schedule", "weight_decay"},
      {{{"norm_pinning", true}, {"weight_decay", 0.1}}, "norm_pinning", "weight_decay"},
      {{{"kind", "spin"}, {"weight_decay", 0.1}}, "weight_decay", "set it to 0"},
  };
  for (const auto& c : cases) {
    const auto spec = parse_train_spec(with("/optimizer", c.optimizer));
    ASSERT_FALSE(spec) << c.optimizer;
    EXPECT_EQ(spec.error().param, std::string("optimizer.") + c.param) << spec.error().message;
    EXPECT_NE(spec.error().message.find(c.remedy), std::string::npos) << spec.error().message;
  }
  json dense = tiny();
  dense["quantized"] = false;
  dense["optimizer"] = {{"polarize", "double_well"}};
  EXPECT_EQ(parse_train_spec(dense.dump()).error().param, "optimizer.polarize");
}

TEST(TrainSpecFields, EveryMethodShowsItsDefaultsAndComesBack) {
  for (const json& optimizer :
       {json{{"kind", "spin"}}, json{{"kind", "sgld"}, {"sgld_temperature", 0.5}},
        json{{"kind", "distillix_muon"}, {"weight_decay", 0.1}}, json{{"polarize", "polarized"}},
        json{{"polarize", "double_well"}}, json{{"norm_pinning", true}},
        json{{"schedule", "cosine"}},
        json{{"schedule", "two_stage"},
             {"weight_decay", 0.1},
             {"weight_decay_schedule", "two_stage"}}}) {
    const auto spec = parse_train_spec(with("/optimizer", optimizer));
    ASSERT_TRUE(spec) << spec.error().message;
    const std::string shown = format_train_spec(*spec);
    const auto again = parse_train_spec(shown);
    ASSERT_TRUE(again) << again.error().message;
    EXPECT_EQ(format_train_spec(*again), shown);
    const json all = json::parse(shown)["optimizer"];
    for (const auto& [name, value] : optimizer.items()) EXPECT_EQ(all.at(name), value) << name;
  }
  const auto spin = parse_train_spec(with("/optimizer", {{"kind", "spin"}}));
  EXPECT_EQ(spin->optimizer.lr, 1e-3);
  EXPECT_EQ(json::parse(format_train_spec(*spin))["optimizer"]["spin_tunnel"], 2.0);
}

// Only full-precision jobs give int8 models: a quantized one would fail when it is exported.
TEST(TrainSpecFields, WeightsFollowWhetherTheJobIsQuantized) {
  expect_refused("/model/weights", "int8");
  const auto spec = parse_train_spec(with("/quantized", false));
  ASSERT_TRUE(spec) << spec.error().message;
  EXPECT_EQ(spec->model.weights, WeightKind::int8);
  EXPECT_TRUE(parse_train_spec(format_train_spec(*spec)));
}

TEST(TrainSpecFields, CharactersOfStructureAreASCIIAndNotMany) {
  for (const json& bad : {json(""), json(std::string(65, '{')), json("\xC3\xA9"), json("\r"),
                          json(std::string("a\0b", 3)), json(7)}) {
    expect_refused("/loss/format_characters", bad);
  }
}

// A setting that would do nothing, or not what it says, is refused with what it needs.
TEST(TrainSpecFields, SettingsOfTheLossThatContradictAreRefused) {
  const struct {
    const char* loss;
    const char* param;
    const char* needs;
  } cases[] = {
      {R"({"jsd_beta": 0.5})", "loss.jsd_beta", "loss.divergence jsd"},
      {R"({"divergence": "skew_kl", "jsd_beta": 0.5})", "loss.jsd_beta", "loss.divergence jsd"},
      {R"({"divergence": "jsd", "skew_alpha": 0.5})", "loss.skew_alpha", "skew_reverse_kl"},
      {R"({"divergence": "reverse_kl", "tail": "counts"})", "loss.tail", "forward_kl"},
      {R"({"temperature": 2, "tail": "sampled"})", "loss.tail", "loss.temperature 1"},
      {R"({"format_characters": "{"})", "loss.format_characters", "loss.format_weight"},
      {R"({"label_smoothing": 0.1, "focal_gamma": 2})", "loss.focal_gamma", "label_smoothing"}};
  for (const auto& c : cases) {
    const auto spec = parse_train_spec(with("/loss", json::parse(c.loss)));
    ASSERT_FALSE(spec) << c.loss;
    EXPECT_EQ(spec.error().code, ErrorCode::invalid_argument);
    EXPECT_EQ(spec.error().param, c.param) << spec.error().message;
    EXPECT_NE(spec.error().message.find(c.param), std::string::npos) << spec.error().message;
    EXPECT_NE(spec.error().message.find(c.needs), std::string::npos) << spec.error().message;
  }
}

TEST(TrainSpecFields, EveryLossComesBackAsItWasWritten) {
  for (const char* loss :
       {R"({"divergence": "jsd", "jsd_beta": 0.25, "temperature": 2})",
        R"({"divergence": "skew_kl"})", R"({"divergence": "skew_reverse_kl", "skew_alpha": 0.3})",
        R"({"divergence": "reverse_kl", "tail": "ignore", "temperature": 1.3})",
        R"({"tail": "sampled"})", R"({"tail": "counts"})", R"({"label_smoothing": 0.2})",
        R"({"focal_gamma": 1.5})", R"({"format_weight": 0.2, "format_characters": "{}\n "})"}) {
    json job = json::parse(with("/loss", json::parse(loss)));
    job["data"]["traces"] = {"a-teachers"};
    const auto spec = parse_train_spec(job.dump());
    ASSERT_TRUE(spec) << loss << ": " << spec.error().message;
    const auto written = json::parse(format_train_spec(*spec)).at("loss");
    const json asked = json::parse(loss);
    for (const auto& [name, value] : asked.items()) EXPECT_EQ(written.at(name), value) << loss;
    const auto again = parse_train_spec(format_train_spec(*spec));
    ASSERT_TRUE(again) << again.error().message;
    EXPECT_EQ(format_train_spec(*again), format_train_spec(*spec));
  }
  const auto plain = json::parse(format_train_spec(*parse_train_spec(tiny().dump()))).at("loss");
  EXPECT_EQ(plain.at("divergence"), "forward_kl");
  EXPECT_EQ(plain.at("temperature"), 1.0);
  EXPECT_EQ(plain.at("tail"), "other");
}

TEST(TrainSpecFields, BoundsThemselvesAreAccepted) {
  for (const auto& [pointer, value] :
       std::vector<std::pair<std::string, json>>{{"/seed", int64_t{1} << 53},
                                                 {"/seed", 0},
                                                 {"/threads", 1024},
                                                 {"/data/held_out", 0.9},
                                                 {"/data/held_out", 0},
                                                 {"/data/fim_rate", 1},
                                                 {"/model/vocab_size", 1024},
                                                 {"/loss/kd_weight", 0},
                                                 {"/name", "a.b_c-D9"},
                                                 {"/optimizer/warmdown", 0.95}}) {
    const auto spec = parse_train_spec(with(pointer, value));
    EXPECT_TRUE(spec) << pointer << ": " << spec.error().message;
  }
}

TEST(TrainSpecFields, CorporaOfLinesAndLicensesComeBackAndOnlyWhenUsed) {
  json body = tiny();
  body["data"]["corpora"] = {{{"name", "a"}, {"format", "jsonl"}},
                             {{"name", "b"}, {"format", "jsonl"}, {"extensions", {".json"}}},
                             {{"name", "c"}}};
  body["data"]["licenses"] = {"MIT", "GPL-2.0+", "unknown"};
  body["data"]["near_duplicate"] = 0;
  const auto spec = parse_train_spec(body.dump());
  ASSERT_TRUE(spec) << spec.error().message;
  EXPECT_EQ(spec->data.corpora[0].format, CorpusFormat::jsonl);
  EXPECT_EQ(spec->data.corpora[0].extensions, std::vector<std::string>{".jsonl"});
  EXPECT_EQ(spec->data.corpora[1].extensions, std::vector<std::string>{".json"});
  EXPECT_EQ(spec->data.corpora[2].format, CorpusFormat::files);
  const json written = json::parse(format_train_spec(*spec)).at("data");
  EXPECT_EQ(written.at("corpora")[0].at("format"), "jsonl");
  EXPECT_FALSE(written.at("corpora")[2].contains("format"));
  EXPECT_EQ(written.at("licenses"), body["data"]["licenses"]);
  EXPECT_EQ(written.at("near_duplicate"), 0);
  EXPECT_EQ(format_train_spec(*parse_train_spec(format_train_spec(*spec))),
            format_train_spec(*spec));
  EXPECT_FALSE(json::parse(format_train_spec(*parse_train_spec(tiny().dump())))
                   .at("data")
                   .contains("licenses"));
}

TEST(TrainSpecFields, WrongLicensesAndFormatsAreRefused) {
  for (const json& bad :
       {json::array(), json("MIT"), json::array({""}), json::array({"MIT License"}),
        json::array({"MIT", 5}), json::array({std::string(65, 'a')})}) {
    expect_refused("/data/licenses", bad);
  }
  json body = tiny();
  body["data"]["corpora"][0]["format"] = "csv";
  EXPECT_EQ(parse_train_spec(body.dump()).error().param, "data.corpora[0].format");
  body["data"] = {{"traces", {"t"}}, {"licenses", {"MIT"}}};
  EXPECT_EQ(parse_train_spec(body.dump()).error().param, "data.licenses");
}

TEST(JsonText, NestingIsCappedBeforeParsing) {
  const auto nested = [](int depth) {
    return "{\"a\":" + std::string(static_cast<size_t>(depth) - 1, '[') +
           std::string(static_cast<size_t>(depth) - 1, ']') + "}";
  };
  EXPECT_TRUE(parse_json_object(nested(16)));
  EXPECT_NE(parse_json_object(nested(17)).error().message.find("16"), std::string::npos);
  EXPECT_FALSE(parse_json_object("{\"a\":" + std::string(10'000'000, '[')));
  // Brackets in strings are text, also after an escaped quote.
  EXPECT_TRUE(parse_json_object("{\"a\":\"" + std::string(100, '[') + "\\\"" +
                                std::string(100, '{') + "\"}"));
}

TEST(JsonText, WhatIsNoObjectIsRefused) {
  for (const std::string& text :
       {std::string(""), std::string("null"), std::string("[1]"), std::string("{}{}"),
        std::string("{\"a\":1e999}"), std::string("{\"a\":\"\xFF\"}"), std::string("{\"a\":NaN}"),
        std::string("{a:1}"), std::string("{\"a\":1,}"), std::string("{\"a\":1}\0", 8)}) {
    EXPECT_FALSE(parse_json_object(text)) << testing::PrintToString(text);
  }
}

}  // namespace
}  // namespace tristill::job
