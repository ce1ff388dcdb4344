#include "server/jinja/context.h"

namespace tristill::jinja {

void Context::make_bytes(size_t n) {
  step(n / 64);
  if (n > bytes_left_) {
    fail("the template makes more than " + std::to_string(limits_.bytes) + " bytes of values");
  }
  bytes_left_ -= n;
}

void Context::check_output(size_t n) const {
  if (n > limits_.output_bytes) {
    fail("the output is larger than " + std::to_string(limits_.output_bytes) + " bytes");
  }
}

Namespace* Context::make_namespace() {
  step();
  make_bytes(sizeof(Namespace));
  return &namespaces_.emplace_back();
}

void Context::too_long() const {
  fail("the template takes more than " + std::to_string(limits_.steps) + " steps");
}

void Context::too_deep() {
  --depth_;  // the level is not entered, so it is not left
  fail("the evaluation is nested deeper than " + std::to_string(limits_.depth) + " levels");
}

}  // namespace tristill::jinja
