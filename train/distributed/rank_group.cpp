#include "train/distributed/rank_group.h"

#include <cstdlib>
#include <string>
#include <vector>

#ifdef TRISTILL_GLOO
#include <torch/csrc/distributed/c10d/FileStore.hpp>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#endif
#include <torch/version.h>

#include "base/check.h"

namespace tristill::train {

using torch::Tensor;

#ifdef TRISTILL_GLOO

namespace {

using Work = c10::intrusive_ptr<c10d::Work>;

c10::intrusive_ptr<c10d::Store> open_store(const RankPlace& place, std::chrono::seconds wait) {
  if (!place.store_file.empty()) {
    auto file = c10::make_intrusive<c10d::FileStore>(place.store_file, place.size);
    file->setTimeout(wait);
    return file;
  }
  c10d::TCPStoreOptions options;
  options.port = place.port;
  options.isServer = place.rank == 0 && !place.is_store_served;
  options.numWorkers = place.size;
  options.waitWorkers = !place.is_store_served;
  options.timeout = wait;
#if TORCH_VERSION_MAJOR > 2 || (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 4)
  options.useLibUV = false;
#endif
  auto store = c10::make_intrusive<c10d::TCPStore>(place.address, options);
  return c10::make_intrusive<c10d::PrefixStore>("tristill/" + place.attempt, store);
}

// The network device: GLOO_SOCKET_IFNAME by name; loopback where the ranks meet on it; else the
// one that this machine's name resolves to.
auto choose_device(const RankPlace& place) {
  using c10d::ProcessGroupGloo;
  const char* name = std::getenv("GLOO_SOCKET_IFNAME");
  if (name != nullptr) return ProcessGroupGloo::createDeviceForInterface(name);
  const bool loopback = place.address == "localhost" || place.address.rfind("127.", 0) == 0;
  return loopback ? ProcessGroupGloo::createDeviceForHostname(place.address)
                  : ProcessGroupGloo::createDefaultDevice();
}

}  // namespace

struct RankGroup::Links {
  Links(const RankPlace& place, std::chrono::seconds wait) : store(open_store(place, wait)) {
    auto options = c10d::ProcessGroupGloo::Options::create();
    options->devices.push_back(choose_device(place));
    options->timeout = wait;
    gloo = c10::make_intrusive<c10d::ProcessGroupGloo>(store, place.rank, place.size, options);
  }

  Work send(const Tensor& tensor, int to) {
    std::vector<Tensor> list{tensor};
    return gloo->send(list, to, 0);
  }
  Work receive(Tensor& tensor, int from) {
    std::vector<Tensor> list{tensor};
    return gloo->recv(list, from, 0);
  }

  c10::intrusive_ptr<c10d::Store> store;
  c10::intrusive_ptr<c10d::ProcessGroupGloo> gloo;
};

namespace {

// Runs a call of c10d; what it throws becomes RankLost with who was at the other end.
template <class Call>
void guarded(const std::string& who, const Call& call) {
  try {
    call();
  } catch (const std::exception& failure) {
    const std::string text = failure.what();
    throw RankLost(who + ": " + text.substr(0, text.find('\n')));
  }
}

std::string named(int rank) { return "rank " + std::to_string(rank) + " was lost"; }

}  // namespace

RankGroup::RankGroup(const RankPlace& place, std::chrono::seconds wait) : place_(place) {
  if (place.size == 1) return;
  guarded("the ranks did not meet", [&] { links_ = std::make_unique<Links>(place, wait); });
}

void RankGroup::move(Tensor& tensor, int from, int to, std::chrono::milliseconds wait) {
  if (from == to || tensor.numel() == 0 || (rank() != from && rank() != to)) return;
  CHECK(tensor.is_contiguous());
  if (!tensor.is_cpu()) {  // Gloo's way goes through memory of the CPU
    Tensor here = tensor.cpu();
    move(here, from, to, wait);
    if (rank() == to) tensor.copy_(here);
    return;
  }
  const int other = rank() == from ? to : from;
  guarded(named(other), [&] {
    (rank() == from ? links_->send(tensor, to) : links_->receive(tensor, from))->wait(wait);
  });
}

void RankGroup::exchange(const Tensor& give, Tensor& take, int partner) {
  CHECK(give.is_contiguous() && take.is_contiguous());
  guarded(named(partner), [&] {
    Work send;
    Work receive;
    if (give.numel() > 0) send = links_->send(give, partner);
    if (take.numel() > 0) receive = links_->receive(take, partner);
    if (receive) receive->wait(kStepWait);
    if (send) send->wait(kStepWait);
  });
}

#else

struct RankGroup::Links {};

RankGroup::RankGroup(const RankPlace& place, std::chrono::seconds) : place_(place) {
  if (place.size > 1) {
    throw RankLost(
        "this worker was built without c10d's Gloo and knows one rank only; install "
        "libgloo-dev and build it anew");
  }
}
void RankGroup::move(Tensor&, int, int, std::chrono::milliseconds) {}
void RankGroup::exchange(const Tensor&, Tensor&, int) {}

#endif

RankGroup::RankGroup() = default;
RankGroup::~RankGroup() = default;

void RankGroup::broadcast(Tensor& tensor, std::chrono::milliseconds wait) {
  for (int to = 1; to < size(); ++to) move(tensor, 0, to, wait);
}

void RankGroup::add_up(Tensor& numbers) {
  Tensor other = at::empty_like(numbers);
  for (int distance = 1; distance < size(); distance *= 2) {
    exchange(numbers, other, rank() ^ distance);
    numbers.add_(other);
  }
}

}  // namespace tristill::train
