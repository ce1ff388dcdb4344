// Fixture of tests that run whole jobs: a small corpus, a tokenizer, jobs on them.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>

#include "base/atomic_file.h"
#include "model/format/gguf_writer.h"
#include "tests/support/test_model.h"
#include "tests/train/torch/source_folder.h"
#include "train/run/train.h"
#include "train/student/student.h"

namespace tristill::train {

namespace fs = std::filesystem;

class RunTest : public ::testing::Test {
 protected:
  RunTest() {
    std::string name = (fs::temp_directory_path() / "tristill-run-XXXXXX").string();
    root_ = ::mkdtemp(name.data());
    write_sources(root_ / "corpus", 30);
    tokenizer_file_ = root_ / "tokenizer.gguf";
    const auto model = test::random_model({.seed = 1});
    EXPECT_TRUE(write_model_file(tokenizer_file_, model, *test::tiny_tokenizer(), {}));
  }
  ~RunTest() override { fs::remove_all(root_); }

  job::JobFile job(uint64_t max_steps) const {
    job::JobFile file;
    file.id = "ftjob-test";
    job::TrainSpec& spec = file.train();
    spec.name = "tiny";
    spec.model = test::random_model({.seed = 1}).config;
    spec.budget.max_steps = max_steps;
    spec.batch_tokens = 256;
    spec.sequence_length = 64;
    spec.log_every = 2;
    spec.threads = 1;
    spec.eval_tokens = 2048;
    spec.data.held_out = 0.2;
    file.corpora = {{{.name = "test"}, (root_ / "corpus").string()}};
    file.tokenizer_model = tokenizer_file_.string();
    return file;
  }

  job::JobDirectory directory(const std::string& name) const {
    fs::create_directories(root_ / name);
    return {root_ / name};
  }

  void expect_engine_speaks_as_student(const job::JobFile& file, const ModelConfig& trained,
                                       double tolerance = 0);
  void expect_engine_speaks_as_student(uint32_t window);
  static Student trained_student(const job::JobDirectory& place, const ModelConfig& config,
                                 const job::QuantizationSpec& quantization = {});

  // The checkpoint of a step.
  static fs::path place_of(const job::JobDirectory& job, int step) {
    char name[16];
    std::snprintf(name, sizeof name, "%08d", step);
    return job.checkpoints() / name;
  }

  static Result<Outcome> run(const job::JobDirectory& directory, const job::JobFile& file,
                             bool stop_at_once = false) {
    EventLog events(directory.events());
    const std::atomic<bool> stop{stop_at_once};
    return run_train(directory, file, events, stop);
  }

  // Runs a job that saves after each step, then again from the checkpoint before the last, which is
  // what a kill would have left.
  void run_in_two_parts(const job::JobDirectory& place, const job::JobFile& file) {
    job::JobFile first = file;
    first.train().checkpoint_seconds = 0;
    ASSERT_TRUE(run(place, first));
    const auto last = static_cast<int>(*file.train().budget.max_steps);
    ASSERT_TRUE(fs::remove_all(place_of(place, last)) > 0);
    fs::remove(place.model());
    ASSERT_TRUE(run(place, file));
  }

  // The weights of a checkpoint in full precision, as somebody else would publish them.
  fs::path published(const std::map<std::string, torch::Tensor>& tensors) const {
    GgufWriter out;
    out.add_text("general.architecture", "qwen3");
    for (const auto& [name, tensor] : tensors) {
      if (!name.starts_with("weights.")) continue;
      const auto sizes = tensor.sizes();
      out.add_tensor(name.substr(8), TensorType::f32, {sizes.rbegin(), sizes.rend()},
                     {reinterpret_cast<const char*>(tensor.data_ptr<float>()),
                      static_cast<size_t>(tensor.numel()) * sizeof(float)});
    }
    const fs::path path = root_ / "weights.gguf";
    EXPECT_TRUE(write_file_atomically(path, out.finish()));
    return path;
  }

  fs::path root_, tokenizer_file_;
};

}  // namespace tristill::train
