#include "train/run/owners.h"

#include <algorithm>
#include <cstdint>

#include "train/distributed/shard_layout.h"
#include "train/optim/optimizer.h"

namespace tristill::train {

std::vector<int> owners_of(const Student& student, job::OptimizerKind kind, int ranks) {
  std::vector<int64_t> costs;
  for (const NamedParameter& parameter : student.parameters()) {
    const torch::Tensor& tensor = parameter.tensor;
    const job::OptimizerKind rule = rule_for(kind, parameter);
    const bool is_muons =
        rule == job::OptimizerKind::muon || rule == job::OptimizerKind::distillix_muon;
    const int64_t side = is_muons ? std::min(tensor.size(0), tensor.size(1)) : 0;
    costs.push_back(step_cost(tensor.numel(), side));
  }
  return share_out(costs, ranks);
}

}  // namespace tristill::train
