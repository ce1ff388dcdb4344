// Teachers: models of this daemon's files that are asked about every batch while a student learns
// (white-box distillation): whole distributions, and attention relations of one layer. They are
// frozen, and compute on the student's device, on the CPU as they are served. Trainer's thread
// only.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "model/tokenizer/tokenizer.h"
#include "train/job/spec.h"
#include "train/student/student.h"

namespace tristill::train {

class Teachers {
 public:
  // files: of spec.teaching.teachers, in order; none: nobody is asked. Errors: those of the model
  // file; invalid_argument, param teaching.*, when a teacher has another tokenizer or too short a
  // context, or the relation's layers and heads do not fit.
  static Result<Teachers> open(const std::vector<std::string>& files, const job::TrainSpec& spec,
                               const Tokenizer& tokenizer, torch::Device device = torch::kCPU);

  bool empty() const { return asked_.empty(); }
  // The student's layer whose states are compared; -1: none.
  int64_t student_layer() const { return student_layer_; }

  // Sets the batch's dense targets and relation states.
  void teach(Batch& batch);

 private:
  struct Asked {
    Student model;
    double weight;
  };
  Result<void> choose_relation(const job::TrainSpec& spec);

  std::vector<Asked> asked_;
  int64_t student_layer_ = -1;
};

}  // namespace tristill::train
