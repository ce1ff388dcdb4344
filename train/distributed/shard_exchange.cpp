#include "train/distributed/shard_exchange.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "model/ternary.h"

namespace tristill::train {
namespace {

using torch::Tensor;

Tensor cut(const Tensor& flat, ShardLayout::Range range) {
  return flat.slice(0, range.begin, range.end);
}

constexpr size_t kSums = 9;

std::vector<double> numbers_of(const LossSums& sums) {
  return {sums.ce,
          sums.kd,
          sums.z,
          sums.format,
          sums.weighted,
          static_cast<double>(sums.tokens),
          static_cast<double>(sums.taught_tokens),
          static_cast<double>(sums.format_tokens),
          sums.relation};
}

LossSums sums_of(const double* n) {
  return {.ce = n[0],
          .kd = n[1],
          .z = n[2],
          .format = n[3],
          .weighted = n[4],
          .tokens = static_cast<int64_t>(n[5]),
          .taught_tokens = static_cast<int64_t>(n[6]),
          .format_tokens = static_cast<int64_t>(n[7]),
          .relation = n[8]};
}

int64_t bias_size(const LinearWeight& weight) {
  return weight.bias().defined() ? weight.bias().numel() : 0;
}

int64_t ternary_bytes(int64_t weights) {
  return static_cast<int64_t>(packed_ternary_bytes(static_cast<size_t>(weights)));
}

}  // namespace

ShardExchange::ShardExchange(Student& student, const std::vector<int>& owners, RankGroup& ranks)
    : student_(student), ranks_(ranks), owners_(owners) {
  const auto weights = student.weights();
  for (const NamedParameter& parameter : student.parameters()) {
    const auto found = std::ranges::find_if(weights, [&](const LinearWeight* weight) {
      return weight->latent().is_same(parameter.tensor);
    });
    items_.push_back({parameter.tensor, found == weights.end() ? nullptr : *found});
    sizes_.push_back(parameter.tensor.numel());
  }
  CHECK(owners_.size() == items_.size());
}

LossSums ShardExchange::reduce(Gradients branch, int64_t& votes) {
  std::vector<double> numbers = numbers_of(branch.sums);
  numbers.push_back(static_cast<double>(votes));
  Tensor sums = torch::tensor(numbers, at::kDouble);
  ranks_.add_up(sums);
  votes = static_cast<int64_t>(sums.data_ptr<double>()[kSums]);
  std::vector<Tensor>& own = branch.tensors;
  if (ranks_.size() > 1) {
    const ShardLayout layout(sizes_, owners_, ranks_.size());
    Tensor flat = at::zeros({layout.total()}, at::kFloat);
    for (size_t i = 0; i < own.size(); ++i) {
      const int64_t at = layout.offset(i);
      flat.slice(0, at, at + sizes_[i]).copy_(own[i].reshape({-1}));
      own[i] = flat.slice(0, at, at + sizes_[i]).view(items_[i].latent.sizes());
    }
    for (int level = 0; level < layout.levels(); ++level) {
      const int partner = ranks_.rank() ^ (1 << level);
      Tensor kept = cut(flat, layout.part(ranks_.rank(), level + 1));
      Tensor theirs = at::empty_like(kept);
      ranks_.exchange(cut(flat, layout.part(partner, level + 1)), theirs, partner);
      kept.add_(theirs);
    }
  }
  for (size_t i = 0; i < own.size(); ++i) {
    if (owners_[i] != ranks_.rank()) continue;
    items_[i].latent.mutable_grad() = own[i].to(items_[i].latent.device());
  }
  return sums_of(sums.data_ptr<double>());
}

// Whether the other ranks need only the quantised weight: not where the way back to a learned scale
// goes through the latents.
bool ShardExchange::is_packed(const LinearWeight& weight) const {
  return weight.mode() != LinearMode::dense && !weight.log_scale().defined() &&
         student_.strength_of(weight) == 1.0;
}

bool ShardExchange::is_packed(const Item& item) const {
  return item.weight != nullptr && is_packed(*item.weight);
}

int64_t ShardExchange::packed_bytes(const Item& item) const {
  const int64_t n = item.latent.numel();
  constexpr int64_t kFloat = sizeof(float);
  if (!is_packed(item)) return n * kFloat;
  const int64_t values = item.weight->mode() == LinearMode::ternary ? ternary_bytes(n) : n;
  return values + (item.weight->scale().numel() + bias_size(*item.weight)) * kFloat;
}

void ShardExchange::pack(const Item& item, uint8_t* to) const {
  const auto n = static_cast<size_t>(item.latent.numel());
  if (!is_packed(item)) {
    const Tensor latent = item.latent.detach().cpu();
    std::memcpy(to, latent.data_ptr<float>(), n * sizeof(float));
    return;
  }
  const Tensor on_cpu = item.weight->values().cpu();
  const auto* values = on_cpu.data_ptr<int8_t>();
  if (item.weight->mode() == LinearMode::ternary) {
    pack_ternary(values, 1, n, to);
    to += packed_ternary_bytes(n);
  } else {
    std::memcpy(to, values, n);
    to += n;
  }
  for (const Tensor& given : {item.weight->scale(), item.weight->bias()}) {
    if (!given.defined()) continue;
    const Tensor floats = given.cpu();
    const size_t bytes = static_cast<size_t>(floats.numel()) * sizeof(float);
    std::memcpy(to, floats.data_ptr<float>(), bytes);
    to += bytes;
  }
}

void ShardExchange::unpack(const Item& item, const uint8_t* from) const {
  const auto n = static_cast<size_t>(item.latent.numel());
  if (!is_packed(item)) {
    Tensor latent = at::empty(item.latent.sizes(), at::kFloat);
    std::memcpy(latent.data_ptr<float>(), from, n * sizeof(float));
    Tensor(item.latent).copy_(latent);
    return;
  }
  Tensor values = at::empty(item.latent.sizes(), at::kChar);
  Tensor scale = at::empty(item.weight->scale().sizes(), at::kFloat);
  if (item.weight->mode() == LinearMode::ternary) {
    if (!unpack_ternary(from, 1, n, values.data_ptr<int8_t>())) {
      throw RankLost("a rank sent ternary weights that are none");
    }
    from += packed_ternary_bytes(n);
  } else {
    std::memcpy(values.data_ptr<int8_t>(), from, n);
    from += n;
  }
  const size_t scale_bytes = static_cast<size_t>(scale.numel()) * sizeof(float);
  std::memcpy(scale.data_ptr<float>(), from, scale_bytes);
  Tensor bias;
  if (const int64_t rows = bias_size(*item.weight); rows > 0) {
    bias = at::empty({rows}, at::kFloat);
    std::memcpy(bias.data_ptr<float>(), from + scale_bytes,
                static_cast<size_t>(rows) * sizeof(float));
  }
  item.weight->adopt(values, scale, bias);
}

void ShardExchange::spread() {
  const torch::NoGradGuard no_grad;
  if (ranks_.size() == 1) return student_.refresh();
  for (size_t i = 0; i < items_.size(); ++i) {
    if (owners_[i] == ranks_.rank() && is_packed(items_[i])) items_[i].weight->refresh();
  }
  std::vector<int64_t> bytes;
  for (const Item& item : items_) bytes.push_back(packed_bytes(item));
  const ShardLayout layout(bytes, owners_, ranks_.size());
  Tensor flat = at::zeros({layout.total()}, at::kByte);
  auto* data = flat.data_ptr<uint8_t>();
  for (size_t i = 0; i < items_.size(); ++i) {
    if (owners_[i] == ranks_.rank()) pack(items_[i], data + layout.offset(i));
  }
  for (int level = layout.levels() - 1; level >= 0; --level) {
    const int partner = ranks_.rank() ^ (1 << level);
    Tensor theirs = cut(flat, layout.part(partner, level + 1));
    ranks_.exchange(cut(flat, layout.part(ranks_.rank(), level + 1)), theirs, partner);
  }
  for (size_t i = 0; i < items_.size(); ++i) {
    if (owners_[i] != ranks_.rank()) unpack(items_[i], data + layout.offset(i));
  }
  // Of what came as latents, scales and factors: when all of it is there.
  for (LinearWeight* weight : student_.weights()) {
    if (!is_packed(*weight)) weight->refresh(student_.strength_of(*weight));
  }
}

void ShardExchange::gather() {
  const torch::NoGradGuard no_grad;
  for (size_t i = 0; i < items_.size(); ++i) ranks_.move(items_[i].latent, owners_[i], 0);
}

void ShardExchange::scatter() {
  const torch::NoGradGuard no_grad;
  for (Item& item : items_) ranks_.broadcast(item.latent);
  for (const NamedParameter& kept : student_.base()) {
    Tensor tensor = kept.tensor;
    ranks_.broadcast(tensor);
  }
}

}  // namespace tristill::train
