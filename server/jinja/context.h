// Context: what one rendering may still cost, and how it fails. Everything that works for a
// template pays here, so that no template, whatever it says, runs long, deep or large. One thread.
#pragma once

#include <chrono>
#include <cstddef>
#include <deque>
#include <map>
#include <string>

#include "server/jinja/value.h"

namespace tristill::jinja {

struct Limits {
  size_t steps = 4'000'000;  // nodes evaluated, elements visited, 64 bytes copied
  size_t bytes = size_t{128} << 20;  // of all values that are made
  size_t output_bytes = size_t{32} << 20;
  size_t depth = 600;  // of the evaluation: macros in macros, parts of expressions
};

// Thrown to end a parse or a rendering; caught in template.cpp alone.
struct Failure {
  std::string message;
  int line = 0;
  bool is_refusal = false;  // the template itself called raise_exception
};

// What namespace() makes: the one thing that a template can change.
struct Namespace {
  std::map<std::string, Value, std::less<>> values;
};

class Context {
 public:
  Context(const Limits& limits, std::chrono::system_clock::time_point now)
      : limits_(limits), now_(now), steps_left_(limits.steps), bytes_left_(limits.bytes) {}
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  [[noreturn]] void fail(std::string message) const { throw Failure{std::move(message), line}; }
  [[noreturn]] void refuse(std::string message) const {
    throw Failure{std::move(message), line, /*is_refusal=*/true};
  }

  void step(size_t n = 1) {
    if (n > steps_left_) too_long();
    steps_left_ -= n;
  }
  // For a string of n bytes that is made, or looked through.
  void make_bytes(size_t n);
  void read_bytes(size_t n) { step(n / 64); }
  void check_output(size_t n) const;

  // Lives as long as the rendering.
  Namespace* make_namespace();

  std::chrono::system_clock::time_point now() const { return now_; }

  int line = 1;  // of the template, for messages

  // One level of evaluation.
  class Level {
   public:
    explicit Level(Context& context) : context_(context) {
      if (++context_.depth_ > context_.limits_.depth) context_.too_deep();
    }
    ~Level() { --context_.depth_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

   private:
    Context& context_;
  };

 private:
  [[noreturn]] void too_long() const;
  [[noreturn]] void too_deep();

  Limits limits_;
  std::chrono::system_clock::time_point now_;
  size_t steps_left_;
  size_t bytes_left_;
  size_t depth_ = 0;
  std::deque<Namespace> namespaces_;
};

}  // namespace tristill::jinja
