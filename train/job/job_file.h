// job.json: what the daemon leaves in a job's directory for the worker: the specification, and what
// the names in it lead to. Pure; any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "train/job/job_spec.h"

namespace tristill::job {

struct ResolvedCorpus {
  CorpusSource source;
  std::string path;  // absolute
};

struct JobFile {
  std::string id;  // "ftjob-..."
  JobSpec spec;
  std::vector<ResolvedCorpus> corpora;
  std::vector<std::string> trace_shards;  // absolute paths
  std::string tokenizer_model;  // absolute path of a model file; or empty
  std::string tokenizer_pieces;  // absolute path of a tokenizer job's result; or empty
  std::string tokenizer_weights;  // absolute path of a published tokenizer; or empty
  std::vector<std::string> teachers;  // absolute paths of model files, as teaching.teachers
  std::string init_checkpoints;  // absolute path of another job's checkpoints; or empty
  std::string init_weights;  // absolute path for train/convert/full_weights.h; or empty

  // Of a job of kind "train".
  const TrainSpec& train() const { return std::get<TrainSpec>(spec); }
  TrainSpec& train() { return std::get<TrainSpec>(spec); }
};

Result<JobFile> parse_job_file(std::string_view json);
std::string format_job_file(const JobFile& file);

}  // namespace tristill::job
