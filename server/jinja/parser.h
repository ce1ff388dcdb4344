// Parser: the source of a template -> its syntax tree, by Jinja's grammar as far as chat templates
// use it. Pure. Throws Failure.
//
// Statements: set, if, for, macro, break, continue, filter, with, raw, generation (of transformers:
// its body). Not: call, include, import, extends, block, autoescape, recursive loops.
#pragma once

#include <string_view>

#include "server/jinja/syntax.h"

namespace tristill::jinja {

// source is UTF-8.
Block parse(std::string_view source);

}  // namespace tristill::jinja
