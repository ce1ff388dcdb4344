#include "train/data/tokenizer_plugin.h"

#include <dlfcn.h>

#include <filesystem>
#include <stdexcept>

#include "train/data/sentencepiece_train.h"

namespace tristill {
namespace train {
namespace {

// Beside the running program. RTLD_DEEPBIND: the plug-in's own protobuf comes first for it.
void* plugin() {
  static void* const handle = [] {
    const auto program = std::filesystem::read_symlink("/proc/self/exe");
    const std::string path = program.parent_path() / kPluginFile;
    void* opened = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
    if (opened == nullptr) throw std::runtime_error(std::string("cannot load ") + ::dlerror());
    return opened;
  }();
  return handle;
}

template <class Function>
Function symbol(const char* name) {
  void* const found = ::dlsym(plugin(), name);
  if (found == nullptr) throw std::runtime_error(std::string(kPluginFile) + " lacks " + name);
  return reinterpret_cast<Function>(found);
}

}  // namespace

Result<std::string> train_sentencepiece(const std::vector<std::string_view>& texts,
                                        uint32_t vocab_size, const std::filesystem::path& scratch) {
  Result<std::string> result = Error{};
  const std::string folder = scratch.string();
  symbol<TrainTokenizer>(kTrainTokenizer)(&texts, vocab_size, &folder, &result);
  return result;
}

}  // namespace train

Result<std::shared_ptr<const Tokenizer>> Tokenizer::from_sentencepiece(std::string_view model) {
  Result<std::shared_ptr<const Tokenizer>> result = Error{};
  train::symbol<train::LoadTokenizer>(train::kLoadTokenizer)(model, &result);
  return result;
}

}  // namespace tristill
