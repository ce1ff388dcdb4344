#include "train/run/train.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numbers>

#include "base/check.h"
#include "base/exit_code.h"
#include "base/file_digest.h"
#include "base/seconds_since.h"
#include "base/sha256.h"
#include "model/format/model_file.h"
#include "train/checkpoint.h"
#include "train/convert/full_weights.h"
#include "train/device/place.h"
#include "train/eval/bits_per_byte.h"
#include "train/export.h"
#include "train/optim/optimizer.h"
#include "train/optim/schedule.h"
#include "train/run/cores.h"
#include "train/run/health_guard.h"
#include "train/run/phase_progress.h"
#include "train/run/precision.h"
#include "train/run/quantization.h"
#include "train/run/replica.h"
#include "train/run/saved_weights.h"
#include "train/run/training_data.h"

namespace tristill::train {
namespace {

using Clock = std::chrono::steady_clock;
constexpr double kFirstShare = 0.001;  // of the budget: a step when none was timed yet
constexpr const char* kLossScaleName = "run.loss_scale";

// One run of one job, from the data to the model file.
class TrainRun {
 public:
  TrainRun(const job::JobDirectory& directory, const job::JobFile& file, EventLog& events,
           const std::atomic<bool>& stop, TrainingData data, RankGroup& ranks, torch::Device device)
      : directory_(directory),
        file_(file),
        spec_(file.train()),
        events_(events),
        stop_(stop),
        tokenizer_(data.tokenizer),
        manifest_sha256_(to_hex(data.manifest_digest)),
        held_out_(std::move(data.held_out)),
        replica_(spec_, data, ranks, stop, device),
        student_(replica_.student()),
        optimizer_(replica_.optimizer()),
        batches_(replica_.batches()),
        health_(spec_) {}

  // Goes on where the newest whole checkpoint stands, or takes the first weights of another job.
  Result<void> resume();
  Result<Outcome> run();
  // Lets the other ranks end as this one does.
  void finish(int exit_code) { replica_.finish(exit_code); }

 private:
  Result<void> load_loss_scale(const Checkpoint& checkpoint);
  Result<void> start_from_full_weights();
  Result<void> take_first_weights();
  void report_adaptation();
  double fraction() const;
  // What a step uses of the budget, by the steps so far.
  double step_share() const;
  double eta_seconds() const;
  bool is_checkpoint_due() const;
  void prepare_step();
  void train_step();
  void count_health(const LossSums& sums, double norm, double rate, double decay);
  void scale_first_weights();
  void report_metrics(const LossSums& sums, double norm, double multiplier);
  void report_alarm(const job::HealthAlarm& alarm);
  void report_progress(const std::string& phase);
  void quantize_wholly();
  void warn_of_unfinished_quantization();
  void report_evaluation();
  Result<void> save();
  void report_checkpoint(int64_t step);
  Result<void> checkpoint();
  Outcome pause(const job::HealthAlarm& alarm);
  Result<void> export_model();

  const job::JobDirectory& directory_;
  const job::JobFile& file_;
  const job::TrainSpec& spec_;
  EventLog& events_;
  const std::atomic<bool>& stop_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::string manifest_sha256_;
  TokenSource held_out_;
  Replica replica_;
  Student& student_;
  Optimizer& optimizer_;
  Prefetch& batches_;
  HealthGuard health_;

  int64_t step_ = 0;
  double tokens_ = 0;           // labelled tokens trained on
  double elapsed_before_ = 0;   // seconds of earlier runs
  Clock::time_point started_ = Clock::now();
  Clock::time_point last_checkpoint_ = Clock::now();
  Clock::time_point last_report_ = Clock::now();
  double tokens_at_report_ = 0;
  double seconds_a_step_ = 0;   // smoothed
  bool stop_wanted_ = false;  // by a signal to another rank
  Result<void> failure_;
  Evaluation evaluation_;
  QuantizationPoint quantization_;
  int64_t flip_step_ = -1;  // steps and tokens when activations became 4 bits; -1: they did not
  double flip_tokens_ = -1;
};

bool TrainRun::is_checkpoint_due() const {
  return seconds_since(last_checkpoint_) >= spec_.checkpoint_seconds ||
         (spec_.checkpoint_steps > 0 && step_ % spec_.checkpoint_steps == 0);
}

// Share of the budget used, by whichever limit is nearest.
double TrainRun::fraction() const {
  double used = 0;
  if (spec_.budget.max_steps) {
    used =
        std::max(used, static_cast<double>(step_) / static_cast<double>(*spec_.budget.max_steps));
  }
  if (spec_.budget.max_tokens) {
    used = std::max(used, tokens_ / static_cast<double>(*spec_.budget.max_tokens));
  }
  if (spec_.budget.max_seconds) {
    used = std::max(used, (elapsed_before_ + seconds_since(started_)) / *spec_.budget.max_seconds);
  }
  return std::min(used, 1.0);
}

double TrainRun::step_share() const {
  if (step_ > 0) return fraction() / static_cast<double>(step_);
  double share = 0;
  if (spec_.budget.max_steps) share = 1.0 / static_cast<double>(*spec_.budget.max_steps);
  if (spec_.budget.max_tokens) {
    share = std::max(share, static_cast<double>(spec_.batch_tokens) /
                                static_cast<double>(*spec_.budget.max_tokens));
  }
  return share > 0 ? share : kFirstShare;
}

double TrainRun::eta_seconds() const {
  const double used = fraction();
  const double elapsed = elapsed_before_ + seconds_since(started_);
  return used > 0 ? elapsed * (1.0 - used) / used : 0;
}

void TrainRun::scale_first_weights() {
  if (spec_.init_scale == 1.0) return;
  const torch::NoGradGuard no_grad;
  for (const NamedParameter& parameter : student_.parameters()) {
    if (parameter.is_matrix) torch::Tensor(parameter.tensor).mul_(spec_.init_scale);
  }
  student_.restart_scales();
}

// The latents of a conversion are somebody else's full-precision weights.
Result<void> TrainRun::start_from_full_weights() {
  const auto weights = convert::FullWeights::open(file_.init_weights);
  if (!weights) return weights.error();
  const auto missing = weights->missing(spec_.model);
  if (!missing) return missing.error();
  const torch::NoGradGuard no_grad;
  for (const std::string& name : *missing) {
    if (name.find("sub_norm") == std::string::npos) {
      return Error{ErrorCode::invalid_argument,
                   spec_.init_from_weights + " has no tensor " + name +
                       "; make model say what the files have",
                   "init_from_weights"};
    }
  }
  for (const NamedParameter& tensor : spec_.lora ? student_.base() : student_.parameters()) {
    if (!weights->has(tensor.name)) continue;
    auto values = weights->values(tensor.name, spec_.model);
    if (!std::ranges::all_of(values, [](float value) { return std::isfinite(value); })) {
      return Error{ErrorCode::invalid_argument,
                   "tensor " + tensor.name + " of " + spec_.init_from_weights +
                       " holds a number that is not finite; give whole weights",
                   "init_from_weights"};
    }
    const bool is_warmed_up = spec_.quantized && spec_.quantization.lambda_warmup_steps > 0;
    if (is_warmed_up && weights->is_ternary(tensor.name)) {
      return Error{ErrorCode::invalid_argument,
                   "quantization.lambda_warmup_steps leads from full precision to ternary, which "
                   "tensor " +
                       tensor.name + " is already; leave it out",
                   "quantization.lambda_warmup_steps"};
    }
    torch::Tensor(tensor.tensor)
        .copy_(torch::from_blob(values.data(), tensor.tensor.sizes(), at::kFloat));
  }
  student_.restart_scales();
  student_.start_from_ternary(
      [&](const std::string& name) { return weights->has(name) && weights->is_ternary(name); });
  if (!missing->empty()) {
    const Cursor start = batches_.cursor();
    const Batch batch = batches_.next();
    batches_.seek(start);
    student_.calibrate_sub_norms(batch.tokens, batch.segment_start);
  }
  events_.info("first weights taken from " + spec_.init_from_weights +
               ", norms inserted: " + std::to_string(missing->size()));
  return {};
}

void TrainRun::report_adaptation() {
  if (!spec_.lora) return;
  const auto count = [](const std::vector<NamedParameter>& tensors) {
    int64_t elements = 0;
    for (const NamedParameter& tensor : tensors) elements += tensor.tensor.numel();
    return static_cast<double>(elements);
  };
  events_.write({.type = job::EventType::log,
                 .message = "low-rank adaptation: factors of rank " +
                            std::to_string(spec_.lora->rank) + " are trained, nothing else",
                 .numbers = {{"trained_parameters", count(student_.parameters())},
                             {"kept_parameters", count(student_.base())}}});
}

Result<void> TrainRun::take_first_weights() {
  if (!file_.init_weights.empty()) return start_from_full_weights();
  if (file_.init_checkpoints.empty()) {
    scale_first_weights();
    return {};
  }
  std::string skipped;
  const auto checkpoint = load_newest_checkpoint(file_.init_checkpoints, skipped);
  if (!checkpoint) {
    return Error{ErrorCode::not_found, "job " + spec_.init_from + " has no whole checkpoint",
                 "init_from"};
  }
  auto loaded = load_first_weights(student_, *checkpoint);
  if (!loaded) return Error{ErrorCode::invalid_argument, loaded.error().message, "init_from"};
  events_.info("first weights taken from step " + std::to_string(checkpoint->step) + " of " +
               spec_.init_from);
  return {};
}

// Gives the student the quantisation of the next step, and derives what that step computes with.
void TrainRun::prepare_step() {
  const QuantizationPoint due = quantization_at(spec_, step_, tokens_);
  const bool flips =
      job::flip_tokens(spec_.quantization, spec_.budget).has_value() && due.activation_bits == 4;
  if (flips && flip_step_ < 0) {
    flip_step_ = step_;
    flip_tokens_ = tokens_;
    events_.write({.type = job::EventType::log,
                   .message = "activations flip from 8 bits to 4",
                   .numbers = {{"step", static_cast<double>(step_)}, {"tokens", tokens_}}});
  }
  quantization_ = due;
  replica_.refresh(due);
}

// A checkpoint of another precision has none: the scale then starts anew.
Result<void> TrainRun::load_loss_scale(const Checkpoint& checkpoint) {
  const auto found = checkpoint.tensors.find(kLossScaleName);
  if (found == checkpoint.tensors.end()) return {};
  const torch::Tensor state = found->second.to(at::kDouble).contiguous();
  const auto* numbers = state.data_ptr<double>();
  return replica_.loss_scale().from_numbers({numbers, numbers + state.numel()});
}

Result<void> TrainRun::resume() {
  std::string skipped;
  const auto checkpoint = load_newest_checkpoint(directory_.checkpoints(), skipped);
  if (!checkpoint && checkpoint.error().code == ErrorCode::not_found) return take_first_weights();
  if (!checkpoint) return checkpoint.error();
  if (!skipped.empty()) events_.warn("damaged checkpoints passed over: " + skipped);
  set_aside_newer(directory_.checkpoints(), checkpoint->step);
  if (auto loaded = load_weights(student_, *checkpoint); !loaded) return loaded;
  if (auto loaded = optimizer_.load_state(checkpoint->tensors); !loaded) return loaded;
  const auto places = checkpoint->tensors.find("data.cursor");
  const auto numbers = checkpoint->tensors.find("run.numbers");
  if (places == checkpoint->tensors.end() || numbers == checkpoint->tensors.end() ||
      numbers->second.numel() != 2) {
    return Error{ErrorCode::corrupt, "checkpoint lacks the run's position", "checkpoint"};
  }
  const auto* place = places->second.data_ptr<int64_t>();
  auto cursor = Cursor::from_numbers({place, place + places->second.numel()}, batches_.sources());
  if (!cursor) return cursor.error();
  if (!batches_.has(*cursor)) {
    return Error{ErrorCode::invalid_argument,
                 "data has fewer or shorter documents than at the checkpoint of step " +
                     std::to_string(checkpoint->step) +
                     "; put back what data-manifest.jsonl lists, or start a new job with "
                     "init_from this one",
                 "data"};
  }
  batches_.seek(*cursor);
  if (auto loaded = load_loss_scale(*checkpoint); !loaded) return loaded;
  step_ = checkpoint->step;
  tokens_ = tokens_at_report_ = numbers->second[0].item<double>();
  elapsed_before_ = numbers->second[1].item<double>();
  health_.load_state(checkpoint->tensors);
  if (const auto flip = checkpoint->tensors.find("run.quantization");
      flip != checkpoint->tensors.end() && flip->second.numel() == 4) {
    flip_step_ = static_cast<int64_t>(flip->second[2].item<double>());
    flip_tokens_ = flip->second[3].item<double>();
  }
  events_.info("resumed from the checkpoint of step " + std::to_string(step_));
  return {};
}

Result<void> TrainRun::save() {
  replica_.gather_weights();
  Checkpoint checkpoint{step_, replica_.gather_state(), health_.file()};
  checkpoint.health.step = step_;
  checkpoint.health.seen_tokens = tokens_;
  checkpoint.health.activation_bits = quantization_.activation_bits;
  checkpoint.health.flip_done = flip_step_ >= 0;
  checkpoint.health.timestamp =
      std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  health_.save_state(checkpoint.tensors);
  if (const LossScale& scale = replica_.loss_scale(); scale.used()) {
    checkpoint.health.skipped_steps += scale.skipped_steps();
    checkpoint.tensors[kLossScaleName] = torch::tensor(scale.to_numbers(), at::kDouble);
  }
  save_weights(student_, checkpoint);
  checkpoint.tensors["data.cursor"] = torch::tensor(batches_.cursor().to_numbers(), at::kLong);
  checkpoint.tensors["run.numbers"] =
      torch::tensor({tokens_, elapsed_before_ + seconds_since(started_)}, at::kDouble);
  checkpoint.tensors["run.quantization"] =
      torch::tensor({static_cast<double>(quantization_.activation_bits),
                     static_cast<double>(quantization_.down_activation_bits),
                     static_cast<double>(flip_step_), flip_tokens_},
                    at::kDouble);
  last_checkpoint_ = Clock::now();
  return save_checkpoint(directory_.checkpoints(), checkpoint, {.every = spec_.checkpoint_steps});
}

void TrainRun::report_checkpoint(int64_t step) {
  events_.write({.type = job::EventType::checkpoint,
                 .message = "checkpoint",
                 .numbers = {{"step", static_cast<double>(step)}, {"tokens", tokens_}}});
}

Result<void> TrainRun::checkpoint() {
  if (auto saved = save(); !saved) return saved;
  report_checkpoint(step_);
  return {};
}

void TrainRun::report_progress(const std::string& phase) {
  events_.write(
      {.type = job::EventType::progress,
       .numbers = {{"fraction", fraction()},
                   {"eta_seconds", eta_seconds()},
                   {"step", static_cast<double>(step_)},
                   {"total_steps", static_cast<double>(spec_.budget.max_steps.value_or(0))}},
       .texts = {{"phase", phase}}});
}

void TrainRun::report_metrics(const LossSums& sums, double norm, double multiplier) {
  const auto n = static_cast<double>(std::max<int64_t>(sums.tokens, 1));
  const auto taught = static_cast<double>(sums.taught_tokens);
  replica_.gather_weights();
  const HealthReport& health =
      health_.look(student_, step_, optimizer_.zero_gradient_fraction(), sums.weighted);
  const double seconds = std::max(seconds_since(last_report_), 1e-9);
  job::Event event{.type = job::EventType::metrics, .numbers = health.numbers};
  event.numbers["step"] = static_cast<double>(step_);
  event.numbers["loss"] = sums.weighted / n;
  event.numbers["ce"] = sums.ce / n;
  if (taught > 0) event.numbers["kd"] = sums.kd / taught;
  if (sums.format_tokens > 0) {
    event.numbers["format"] = sums.format / static_cast<double>(sums.format_tokens);
  }
  if (spec_.teaching.relation_weight > 0) event.numbers["relation"] = sums.relation;
  event.numbers["tokens"] = tokens_;
  event.numbers["tokens_per_second"] = (tokens_ - tokens_at_report_) / seconds;
  health_.note_speed(event.numbers["tokens_per_second"]);
  event.numbers["lr"] = optimizer_.matrix_rate(multiplier);
  event.numbers["grad_norm"] = norm;
  if (const LossScale& scale = replica_.loss_scale(); scale.used()) {
    event.numbers["loss_scale"] = scale.scale();
    event.numbers["skipped_steps"] = static_cast<double>(scale.skipped_steps());
  }
  if (spec_.quantized) event.numbers["activation_bits"] = quantization_.activation_bits;
  if (quantization_.strength < 1) event.numbers["quantization"] = quantization_.strength;
  tokens_at_report_ = tokens_;
  last_report_ = Clock::now();
  events_.write(std::move(event));
  for (const job::HealthAlarm& alarm : health.alarms) report_alarm(alarm);
  report_progress("training");
}

void TrainRun::report_alarm(const job::HealthAlarm& alarm) {
  events_.write({.type = job::EventType::log,
                 .level = job::EventLevel::warn,
                 .message = "health: " + alarm.message,
                 .numbers = {{"step", static_cast<double>(step_)}},
                 .texts = {{"alarm", alarm.code}, {"param", alarm.param}}});
}

void TrainRun::count_health(const LossSums& sums, double norm, double rate, double decay) {
  if (!std::isfinite(norm) || !std::isfinite(sums.weighted)) {
    events_.warn("step " + std::to_string(step_) + " was not finite and was left out");
  }
  const double labels = static_cast<double>(std::max<int64_t>(sums.tokens, 1));
  failure_ = health_.count(sums.weighted / labels, norm, rate, decay);
}

void TrainRun::train_step() {
  const auto step_started = Clock::now();
  const bool looks = (step_ + 1) % spec_.log_every == 0 || step_ == 0;
  const double progress = fraction();
  const double multiplier = schedule_multiplier(spec_.optimizer, progress, step_share());
  const double decay_share = decay_multiplier(spec_.optimizer, progress);
  const StepShares shares{multiplier, decay_share, guidance(spec_.optimizer.fogzo_beta, progress)};
  const auto [sums, norm, stop_wanted, overflowed] = replica_.step(shares, looks);
  stop_wanted_ = stop_wanted;
  ++step_;
  tokens_ += static_cast<double>(sums.tokens);
  prepare_step();
  const double rate = optimizer_.matrix_rate(multiplier);
  seconds_a_step_ = seconds_since(step_started);
  if (overflowed) {
    events_.info("step " + std::to_string(step_) +
                 " overflowed in fp16 and was left out; the loss scale is now " +
                 std::to_string(static_cast<int64_t>(replica_.loss_scale().scale())));
  } else {
    count_health(sums, norm, rate, rate * spec_.optimizer.weight_decay * decay_share);
  }
  if (looks) report_metrics(sums, norm, multiplier);
}

// What is evaluated and exported is what is served: never a student whose quantisation warms up.
void TrainRun::quantize_wholly() {
  if (quantization_.strength == 1) return;
  replica_.gather_weights();
  student_.set_strength(1);
  student_.refresh();
}

// Where the budget is time, the job may end before it comes to what was asked for.
void TrainRun::warn_of_unfinished_quantization() {
  if (quantization_.strength < 1) {
    events_.warn(
        "the budget ended while quantisation warmed up; raise it, or lower "
        "quantization.lambda_warmup_steps");
  }
  if (job::flip_tokens(spec_.quantization, spec_.budget) && quantization_.activation_bits == 8) {
    events_.warn("the budget ended before the flip to 4 bits: the model computes with 8");
  }
}

void TrainRun::report_evaluation() {
  if (held_out_.documents() == 0 || spec_.eval_tokens == 0) return;
  const auto batches = evaluation_batches(held_out_, *tokenizer_, replica_.packing().rows,
                                          spec_.sequence_length, spec_.eval_tokens);
  quantize_wholly();
  PhaseProgress progress(events_, "evaluating", static_cast<double>(batches.size()));
  evaluation_ = evaluate(student_, batches, [&] { progress.add(1); });
  events_.write({.type = job::EventType::metrics,
                 .message = "evaluation on held-out files",
                 .numbers = {{"step", static_cast<double>(step_)},
                             {"tokens", tokens_},
                             {"bits_per_byte", evaluation_.bits_per_byte},
                             {"valid_loss", evaluation_.loss},
                             {"valid_tokens", static_cast<double>(evaluation_.tokens)},
                             {"valid_bytes", static_cast<double>(evaluation_.bytes)}}});
}

Result<void> TrainRun::export_model() {
  Provenance provenance = {
      {"job", file_.id},
      {"data_manifest_sha256", manifest_sha256_},
      {"steps", std::to_string(step_)},
      {"tokens", std::to_string(static_cast<int64_t>(tokens_))},
      {"bits_per_byte", std::to_string(evaluation_.bits_per_byte)},
  };
  if (flip_step_ >= 0) {
    provenance["a4_from_step"] = std::to_string(flip_step_);
    provenance["a4_from_tokens"] = std::to_string(static_cast<int64_t>(flip_tokens_));
  }
  auto written =
      write_model_file(directory_.model(), to_model_tensors(student_), *tokenizer_, provenance);
  if (!written) return written;
  const auto file = digest_of_file(directory_.model());
  if (!file) return file.error();
  events_.write({.type = job::EventType::artifact,
                 .message = "model file",
                 .numbers = {{"bytes", static_cast<double>(file->bytes)}},
                 .texts = {{"kind", "model"},
                           {"path", directory_.model().filename().string()},
                           {"sha256", to_hex(file->digest)}}});
  return {};
}

// The state on the disk goes back; what this process holds is not saved.
Outcome TrainRun::pause(const job::HealthAlarm& alarm) {
  const auto step = roll_back(directory_.checkpoints());
  const std::string where = step ? "back at the healthy checkpoint of step " + std::to_string(*step)
                                 : "no checkpoint was healthy, so none was removed";
  job::HealthAlarm told = alarm;
  told.message = "collapsed at step " + std::to_string(step_) + ": " + alarm.message + "; " +
                 where + ". Cancel this job and create one with the change and init_from it";
  events_.write({.type = job::EventType::log,
                 .level = job::EventLevel::error,
                 .message = "health: " + told.message,
                 .numbers = {{"step", static_cast<double>(step_)},
                             {"healthy_step", static_cast<double>(step.value_or(-1))}},
                 .texts = {{"alarm", alarm.code}, {"param", alarm.param}}});
  if (step) report_checkpoint(*step);
  return {Outcome::paused, told};
}

Result<Outcome> TrainRun::run() {
  report_adaptation();
  replica_.share();
  started_ = last_report_ = last_checkpoint_ = Clock::now();  // all ranks are here now
  report_progress("training");
  prepare_step();
  // Something to go back to; no progress, so no event.
  if (step_ == 0 && spec_.health.action == job::HealthAction::stop) {
    if (auto saved = save(); !saved) return saved.error();
  }
  while (fraction() < 1.0) {
    if (stop_ || stop_wanted_) {
      if (auto saved = checkpoint(); !saved) return saved.error();
      return Outcome{Outcome::interrupted, {}};
    }
    train_step();
    if (!failure_) return failure_.error();
    if (const auto alarm = health_.verdict()) return pause(*alarm);
    if (spec_.eval_every > 0 && step_ % spec_.eval_every == 0) {
      report_evaluation();
      if (quantization_.strength < 1) prepare_step();  // as it was
    }
    if (is_checkpoint_due()) {
      if (auto saved = checkpoint(); !saved) return saved.error();
    }
  }
  if (auto saved = checkpoint(); !saved) return saved.error();
  warn_of_unfinished_quantization();
  report_evaluation();
  report_progress("exporting");
  quantize_wholly();
  if (auto exported = export_model(); !exported) return exported.error();
  return Outcome{Outcome::succeeded, {}};
}

Result<void> check_fit(const job::TrainSpec& spec, const Tokenizer& tokenizer) {
  if (tokenizer.special().eos == kNoToken) {
    return Error{
        ErrorCode::invalid_argument,
        "the tokenizer has no end-of-document piece </s>; name another model, or train one",
        "tokenizer.from_model"};
  }
  const size_t padded = (tokenizer.vocab_size() + 63) / 64 * 64;
  if (spec.model.vocab_size < tokenizer.vocab_size() || spec.model.vocab_size > padded) {
    return Error{ErrorCode::invalid_argument,
                 "model.vocab_size is " + std::to_string(spec.model.vocab_size) +
                     ", the tokenizer has " + std::to_string(tokenizer.vocab_size()) +
                     "; accepted is that number, or it rounded up to a multiple of 64",
                 "model.vocab_size"};
  }
  if (spec.sequence_length > spec.model.max_context) {
    return Error{
        ErrorCode::invalid_argument,
        "sequence_length is larger than model.max_context; lower the one or raise the other",
        "sequence_length"};
  }
  return {};
}

// Ranks that a launcher started have their cores to themselves.
int sharing_cores(const RankGroup& ranks) { return ranks.shares_a_machine() ? ranks.size() : 1; }

// Where the run computes, if it can there what it is told to.
Result<torch::Device> device_for(const job::TrainSpec& spec, const RankGroup& ranks) {
  auto device = choose_device(spec.device, ranks.local_rank(), cuda_devices());
  if (!device) return device;
  if (auto used = use_precision(spec.precision, *device); !used) return used.error();
  return device;
}

// As ranks exchange it.
torch::Tensor as_numbers(const Sha256Digest& digest) {
  torch::Tensor numbers = at::empty({std::ssize(digest)}, at::kDouble);
  std::ranges::copy(digest, numbers.data_ptr<double>());
  return numbers;
}

// Whether all ranks read what rank 0 did: their shares of a batch are then of one batch. Rank 0
// knows of each rank's verdict, and tells it in the job's result.
Result<void> check_same_data(const Sha256Digest& mine, const torch::Tensor& leaders,
                             RankGroup& ranks) {
  const auto other_data = [](int rank) {
    return Error{ErrorCode::invalid_argument,
                 "rank " + std::to_string(rank) +
                     " reads other data than rank 0: traces came in meanwhile, or the folders of "
                     "the machines differ; make them the same and create the job again",
                 "data"};
  };
  for (int rank = 1; rank < ranks.size(); ++rank) {
    torch::Tensor same = at::ones({1}, at::kDouble);
    if (ranks.rank() == rank) same.fill_(leaders.equal(as_numbers(mine)) ? 1 : 0);
    ranks.move(same, rank, 0, RankGroup::kLongWait);
    if (same.item<double>() == 0) return other_data(rank);
  }
  return {};
}

// The data, and whether it fits the job. A tokenizer that is trained is rank 0's, in the job's
// directory, so the others come after.
Result<TrainingData> read_data(const job::JobDirectory& directory, const job::JobFile& file,
                               torch::Device device, EventLog& events, RankGroup& ranks) {
  torch::Tensor leaders = as_numbers({});
  if (!ranks.leads()) ranks.broadcast(leaders, RankGroup::kLongWait);
  auto data = prepare_data(directory, file, device, events);
  if (!data) return data;
  if (auto fits = check_fit(file.train(), *data->tokenizer); !fits) return fits.error();
  if (ranks.leads()) {
    leaders = as_numbers(data->manifest_digest);
    ranks.broadcast(leaders, RankGroup::kLongWait);
  }
  if (auto same = check_same_data(data->manifest_digest, leaders, ranks); !same)
    return same.error();
  return data;
}

}  // namespace

Result<Outcome> run_train(const job::JobDirectory& directory, const job::JobFile& file,
                          EventLog& events, const std::atomic<bool>& stop, RankGroup& ranks) {
  use_cores(file.train(), sharing_cores(ranks));
  const auto device = device_for(file.train(), ranks);
  if (!device) return device.error();
  if (!device->is_cpu()) events.info("training on " + device->str());
  auto data = read_data(directory, file, *device, events, ranks);
  if (!data) return data.error();
  const std::string manifest = std::move(data->manifest);
  TrainRun run(directory, file, events, stop, std::move(*data), ranks, *device);
  if (auto resumed = run.resume(); !resumed) return resumed.error();
  if (auto kept = keep_manifest(directory, manifest, events); !kept) return kept.error();
  auto outcome = run.run();
  run.finish(!outcome ? exit_code(outcome.error().code)
                      : (*outcome == Outcome::succeeded ? kExitOk : kExitInterrupted));
  return outcome;
}

Result<Outcome> run_train(const job::JobDirectory& directory, const job::JobFile& file,
                          EventLog& events, const std::atomic<bool>& stop) {
  RankGroup alone;
  return run_train(directory, file, events, stop, alone);
}

Result<int> follow_train(const job::JobDirectory& directory, const job::JobFile& file,
                         const std::atomic<bool>& stop, RankGroup& ranks) {
  use_cores(file.train(), sharing_cores(ranks));
  const auto device = device_for(file.train(), ranks);
  if (!device) return device.error();
  EventLog nowhere("/dev/null");  // rank 0 tells
  auto data = read_data(directory, file, *device, nowhere, ranks);
  if (!data) return data.error();
  Replica replica(file.train(), *data, ranks, stop, *device);
  return replica.follow();
}

}  // namespace tristill::train
