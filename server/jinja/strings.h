// What filters and methods do to strings, by Python's rules; every byte keeps its origin. Pure but
// for what they pay in Context. Positions are bytes.
#pragma once

#include <vector>

#include "server/jinja/context.h"
#include "server/jinja/text.h"
#include "server/jinja/value.h"

namespace tristill::jinja {

enum class Side { both, left, right };

// Without the characters of chars (null: white space) at its ends.
Text strip(Context& context, const Text& text, const Text* chars, Side side);

// Parts between separators (null: between white space, no empty ones), at most max_splits + 1 of
// them; negative: all. Errors: an empty separator.
std::vector<Value> split(Context& context, const Text& text, const Text* separator,
                         int64_t max_splits, bool from_right);
std::vector<Value> split_lines(Context& context, const Text& text, bool keeps_ends);

// At most count times; negative: all.
Text replace(Context& context, const Text& text, const Text& old, const Text& replacement,
             int64_t count);

Text upper(Context& context, const Text& text);
Text lower(Context& context, const Text& text);
// The first letter upper, the others lower.
Text capitalize(Context& context, const Text& text);
// So each word: of str.title, which begins after what is no letter; of the filter, which begins
// after white space and - ( { [ <.
Text title_of_method(Context& context, const Text& text);
Text title_of_filter(Context& context, const Text& text);

Text join(Context& context, const std::vector<Value>& items, const Text& separator);

// {} {0} {name} of str.format, without conversions and formats. Errors: those, and arguments that
// are not there.
Text format(Context& context, const Text& pattern, const Arguments& arguments);

}  // namespace tristill::jinja
