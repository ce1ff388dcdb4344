#include "train/run/cores.h"

#include <ATen/Parallel.h>

#include <algorithm>

namespace tristill::train {

void use_cores(const job::TrainSpec& spec, int sharing) {
  const int wanted = spec.threads > 0 ? static_cast<int>(spec.threads) : at::get_num_threads();
  at::set_num_threads(std::max(1, wanted / sharing));
}

}  // namespace tristill::train
