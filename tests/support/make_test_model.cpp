// tristill-make-test-model FILE [SEED]: writes the tiny random model of the tests.
#include <cstdio>
#include <cstdlib>

#include "tests/support/test_model.h"

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fputs("usage: tristill-make-test-model FILE [SEED]\n", stderr);
    return 64;
  }
  const uint64_t seed = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1;
  const auto written = tristill::write_model_file(
      argv[1], tristill::test::random_model({.seed = seed}), *tristill::test::tiny_tokenizer(), {});
  if (!written) std::fprintf(stderr, "%s\n", written.error().message.c_str());
  return written ? 0 : 1;
}
