// Whole jobs that start from others' weights, or ask teachers while they run.
#include <limits>
#include <sstream>

#include "base/atomic_file.h"
#include "tests/train/torch/run_fixture.h"
#include "train/checkpoint.h"
#include "train/job/event.h"

namespace tristill::train {
namespace {

// A model without SubLN, in full precision, becomes a student that computes the same until it is
// quantised.
TEST_F(RunTest, AFullPrecisionModelIsConverted) {
  auto original = job(40);
  original.train().quantized = false;
  original.train().model.weights = WeightKind::int8;
  original.train().model.sub_norm = false;
  original.train().eval_tokens = 4096;
  const auto first = directory("original");
  ASSERT_TRUE(run(first, original));
  std::string skipped;
  const auto checkpoint = load_newest_checkpoint(first.checkpoints(), skipped);
  ASSERT_TRUE(checkpoint);
  const auto weights = published(checkpoint->tensors);

  auto converted = job(1);
  converted.train().quantization.lambda_warmup_steps = 1000;
  converted.train().optimizer.lr = 1e-8;
  converted.train().optimizer.adamw_lr = 1e-8;
  converted.train().log_every = 1;
  converted.init_weights = weights.string();
  const auto second = directory("converted");
  const auto done = run(second, converted);
  ASSERT_TRUE(done) << done.error().message;
  const auto loss_of = [](const job::JobDirectory& place) {
    double loss = 0;
    std::istringstream lines(*read_file(place.events()));
    for (std::string line; std::getline(lines, line);) {
      const auto event = job::parse_event(line);
      if (event && event->numbers.contains("loss")) loss = event->numbers.at("loss");
    }
    return loss;
  };
  auto drawn = job(1);
  drawn.train().log_every = 1;
  const auto third = directory("drawn");
  ASSERT_TRUE(run(third, drawn));
  EXPECT_LT(loss_of(second), 0.6 * loss_of(third));
  EXPECT_LT(loss_of(second), 1.4 * loss_of(first));  // on the beginnings of documents, the harder

  auto broken = checkpoint->tensors;
  const std::string gate = "weights.blk.0.ffn_gate.weight";
  broken[gate] = broken.at(gate).clone();
  broken[gate].view(-1)[5] = std::numeric_limits<float>::infinity();
  auto infinite = converted;
  infinite.init_weights = published(broken).string();
  const auto named = run(directory("infinite"), infinite);
  ASSERT_FALSE(named);
  EXPECT_EQ(named.error().param, "init_from_weights");
  EXPECT_NE(named.error().message.find("blk.0.ffn_gate.weight"), std::string::npos);

  auto wrong = job(1);
  wrong.train().model.d_ff *= 2;
  wrong.init_weights = weights.string();
  const auto refused = run(directory("wrong"), wrong);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().param, "init_from_weights");
}

// A teacher in the process, relations and own words, through the whole runner; and a resumed run
// sees the same words.
TEST_F(RunTest, TeachersAreAskedAndOwnWordsAreTheSameAfterAResume) {
  auto file = job(6);
  file.train().teaching.teachers = {{.model = "teacher"}};
  file.train().teaching.on_policy_share = 0.5;
  file.train().teaching.relation_weight = 0.1;
  file.train().log_every = 1;
  file.train().checkpoint_seconds = 0;
  file.teachers = {tokenizer_file_.string()};
  const auto straight = directory("straight");
  const auto done = run(straight, file);
  ASSERT_TRUE(done) << done.error().message;
  const std::string events = *read_file(straight.events());
  EXPECT_NE(events.find("\"relation\":"), std::string::npos);
  EXPECT_NE(events.find("\"kd\":"), std::string::npos);
  const auto parts = directory("parts");
  run_in_two_parts(parts, file);
  EXPECT_EQ(*read_file(parts.model()), *read_file(straight.model()));
  file.train().teaching.on_policy_share = 0;
  const auto listening = directory("listening");
  ASSERT_TRUE(run(listening, file));
  EXPECT_NE(*read_file(listening.model()), *read_file(straight.model()));
}

}  // namespace
}  // namespace tristill::train
