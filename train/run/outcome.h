// How a job's runner ended, other than by an error.
#pragma once

#include "train/job/health_file.h"

namespace tristill::train {

struct Outcome {
  enum Ending {
    succeeded,
    interrupted,
    paused,  // for its health, after going back to the last healthy checkpoint
  };
  Ending ending = succeeded;
  job::HealthAlarm alarm;  // what it was paused for
  bool operator==(Ending other) const { return ending == other; }
};

}  // namespace tristill::train
