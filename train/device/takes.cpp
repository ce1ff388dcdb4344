#include <atomic>

#include "train/device/ops.h"

namespace tristill::train::device {
namespace {

std::atomic<int> takes_everything{0};  // backward passes ask from autograd's threads

}  // namespace

bool takes(const torch::Tensor& x) { return !x.is_cpu() || takes_everything > 0; }

TakesEverything::TakesEverything() { ++takes_everything; }
TakesEverything::~TakesEverything() { --takes_everything; }

}  // namespace tristill::train::device
