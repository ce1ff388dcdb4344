// Whole jobs that adapt a full-precision model, and what other jobs make of the result.
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/atomic_file.h"
#include "model/weights.h"
#include "tests/train/torch/run_fixture.h"
#include "train/checkpoint.h"
#include "train/job/event.h"
#include "train/run/dryrun.h"

namespace tristill::train {
namespace {

using torch::Tensor;

class LoraRunTest : public RunTest {
 protected:
  job::JobFile dense(uint64_t max_steps) const {
    auto file = job(max_steps);
    file.train().quantized = false;
    file.train().model.weights = WeightKind::int8;
    file.train().data.fim_rate = 0;
    file.train().log_every = 1;
    return file;
  }

  job::JobFile adapting(uint64_t max_steps, const job::JobDirectory& from) const {
    auto file = dense(max_steps);
    file.train().lora = {.rank = 4, .alpha = 8, .targets = {"attn_q", "attn_v", "ffn_down"}};
    file.train().optimizer.kind = job::OptimizerKind::adamw;
    file.train().optimizer.adamw_lr = 1e-2;
    file.train().seed = 2;
    file.train().init_from = "ftjob-dense";
    file.init_checkpoints = from.checkpoints().string();
    return file;
  }

  job::JobDirectory trained_dense() const {
    const auto place = directory("dense");
    const auto done = run(place, dense(10));
    EXPECT_TRUE(done) << done.error().message;
    return place;
  }

  static std::map<std::string, Tensor> newest(const job::JobDirectory& place) {
    std::string skipped;
    const auto checkpoint = load_newest_checkpoint(place.checkpoints(), skipped);
    EXPECT_TRUE(checkpoint);
    return checkpoint ? checkpoint->tensors : std::map<std::string, Tensor>();
  }

  // Of a job of one step: what it began with.
  static std::map<std::string, Tensor> first(const job::JobDirectory& place) {
    EXPECT_GT(fs::remove_all(place.checkpoints() / "00000001"), 0U);
    return newest(place);
  }

  static std::vector<double> losses(const job::JobDirectory& place) {
    std::vector<double> found;
    std::istringstream lines(*read_file(place.events()));
    for (std::string line; std::getline(lines, line);) {
      const auto event = job::parse_event(line);
      if (event && event->numbers.contains("loss")) found.push_back(event->numbers.at("loss"));
    }
    return found;
  }
};

bool is_target(const std::string& name) {
  return name.ends_with("attn_q.weight") || name.ends_with("attn_v.weight") ||
         name.ends_with("ffn_down.weight");
}

TEST_F(LoraRunTest, LossFallsTheBaseStaysAndTheMergedModelIsServed) {
  const auto before = trained_dense();
  const auto place = directory("adapted");
  const auto done = run(place, adapting(40, before));
  ASSERT_TRUE(done) << done.error().message;
  auto unmoved = adapting(40, before);
  unmoved.train().optimizer.adamw_lr = 1e-12;
  const auto beside = directory("unmoved");
  ASSERT_TRUE(run(beside, unmoved));
  // On the same batches.
  const auto told = losses(place);
  const auto without = losses(beside);
  ASSERT_EQ(told.size(), 40U);
  ASSERT_EQ(without.size(), 40U);
  EXPECT_EQ(told.front(), without.front());
  const auto late = [](const std::vector<double>& all) {
    return std::accumulate(all.end() - 10, all.end(), 0.0);
  };
  EXPECT_LT(late(told), 0.8 * late(without));
  const std::string events = *read_file(place.events());
  EXPECT_NE(events.find("\"trained_parameters\":"), std::string::npos);
  const auto old = newest(before);
  const auto now = newest(place);
  int adapted = 0;
  for (const auto& [name, tensor] : old) {
    if (!name.starts_with("weights.")) continue;
    EXPECT_NE(now.at(name).equal(tensor), is_target(name)) << name;
    if (!is_target(name)) continue;
    ++adapted;
    const std::string of_model = name.substr(8);
    EXPECT_TRUE(now.at("lora.base." + of_model).equal(tensor)) << name;
    const std::string prefix = "lora." + of_model.substr(0, of_model.rfind('.'));
    const Tensor added = 2 * at::mm(now.at(prefix + ".lora_b"), now.at(prefix + ".lora_a"));
    EXPECT_TRUE(now.at(name).allclose(tensor + added, 1e-5, 1e-7)) << name;
  }
  EXPECT_EQ(adapted, 6);  // three of each of two blocks
  const auto loaded = load_model(place.model());
  ASSERT_TRUE(loaded) << loaded.error().message;
  EXPECT_EQ((*loaded)->config.weights, WeightKind::int8);
}

TEST_F(LoraRunTest, AResumedRunEqualsAStraightOneBitForBit) {
  const auto before = trained_dense();
  const auto straight = directory("straight");
  ASSERT_TRUE(run(straight, adapting(6, before)));
  const auto parts = directory("parts");
  run_in_two_parts(parts, adapting(6, before));
  const auto a = newest(straight);
  const auto b = newest(parts);
  ASSERT_EQ(a.size(), b.size());
  for (const auto& [name, tensor] : a) {
    if (name == "run.numbers") continue;  // holds seconds
    EXPECT_TRUE(tensor.equal(b.at(name))) << name;
  }
  EXPECT_EQ(*read_file(straight.model()), *read_file(parts.model()));
}

TEST_F(LoraRunTest, OtherJobsBeginWithTheMergedWeights) {
  const auto before = trained_dense();
  const auto place = directory("adapted");
  ASSERT_TRUE(run(place, adapting(6, before)));
  const auto merged = newest(place);
  const auto student = directory("student");
  auto next = dense(1);
  next.init_checkpoints = place.checkpoints().string();
  ASSERT_TRUE(run(student, next));
  const auto again = directory("again");
  ASSERT_TRUE(run(again, adapting(1, place)));
  const auto of_student = first(student);
  const auto of_again = first(again);
  for (const auto& [name, tensor] : of_student) {
    if (!name.starts_with("weights.")) continue;
    EXPECT_TRUE(tensor.equal(merged.at(name))) << name;
    EXPECT_TRUE(of_again.at(name).equal(merged.at(name))) << name;
    if (!is_target(name)) continue;
    EXPECT_TRUE(of_again.at("lora.base." + name.substr(8)).equal(merged.at(name))) << name;
  }
  EXPECT_EQ(of_again.at("lora.blk.0.attn_q.lora_b").abs().max().item<float>(), 0);
}

TEST_F(LoraRunTest, ADryRunMeasuresWhatItPredicts) {
  job::DryRunSpec trial;
  trial.job = adapting(1, directory("none")).train();
  job::JobFile file;
  file.spec = trial;
  const auto place = directory("dry");
  EventLog events(place.events());
  const std::atomic<bool> stop{false};
  const auto done = run_dryrun(place, file, events, stop);
  ASSERT_TRUE(done) << done.error().message;
  const auto report = nlohmann::json::parse(*read_file(place.dryrun_report()));
  std::vector<std::string> phases;
  for (const auto& phase : report.at("runs")) {
    phases.push_back(phase.at("phase"));
    EXPECT_TRUE(phase.at("finite").get<bool>()) << phase;
  }
  // Weights of 8 bits take no activations of 4.
  EXPECT_EQ(phases, (std::vector<std::string>{"A8_forward", "training_step"}));
}

TEST_F(LoraRunTest, APublishedModelIsAdaptedAndTeaches) {
  const auto before = trained_dense();
  const auto tensors = newest(before);
  const auto weights = published(tensors);
  auto file = adapting(1, before);
  file.train().init_from.clear();
  file.init_checkpoints.clear();
  file.train().init_from_weights = "weights";
  file.init_weights = weights.string();
  const auto place = directory("adapted");
  const auto done = run(place, file);
  ASSERT_TRUE(done) << done.error().message;

  auto taught = job(2);
  taught.train().teaching.teachers = {{.model = "adapted"}};
  taught.train().log_every = 1;
  taught.teachers = {place.model().string()};
  const auto student = directory("taught");
  const auto learned = run(student, taught);
  ASSERT_TRUE(learned) << learned.error().message;
  EXPECT_NE(read_file(student.events())->find("\"kd\":"), std::string::npos);

  const auto began = first(place);
  for (const auto& [name, tensor] : tensors) {
    if (!name.starts_with("weights.")) continue;
    EXPECT_TRUE(began.at(name).equal(tensor)) << name;
  }
}

}  // namespace
}  // namespace tristill::train
