// The files of one job's directory and who writes which. All paths are below `root`.
//   job.json        daemon, before the worker starts
//   events.jsonl    worker, appended; the daemon tails it
//   job.log         the worker's stdout and stderr, never parsed
//   worker.lock     held by flock while a worker lives
//   checkpoints/    worker; NNNNNNNN/ by temp, fsync, rename
//   data-manifest.jsonl  worker, atomic, before training: train/job/data_manifest.h
//   student.gguf    worker, atomic; the result of a train job
//   tokenizer.model worker, atomic; of a tokenizer job, and of a train job that trains its own
//   dryrun.json     worker, atomic; of a dry run
#pragma once

#include <filesystem>

namespace tristill::job {

struct JobDirectory {
  std::filesystem::path root;
  std::filesystem::path job_file() const { return root / "job.json"; }
  std::filesystem::path events() const { return root / "events.jsonl"; }
  std::filesystem::path log() const { return root / "job.log"; }
  std::filesystem::path lock() const { return root / "worker.lock"; }
  std::filesystem::path checkpoints() const { return root / "checkpoints"; }
  std::filesystem::path data_manifest() const { return root / "data-manifest.jsonl"; }
  // What data_manifest() was before a run that went on with other data.
  std::filesystem::path data_manifest_before() const { return root / "data-manifest.before.jsonl"; }
  std::filesystem::path model() const { return root / "student.gguf"; }
  std::filesystem::path tokenizer() const { return root / "tokenizer.model"; }
  std::filesystem::path dryrun_report() const { return root / "dryrun.json"; }
};

}  // namespace tristill::job
