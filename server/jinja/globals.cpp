#include "server/jinja/globals.h"

#include <time.h>

#include <algorithm>

#include "server/jinja/arguments.h"
#include "server/jinja/context.h"

namespace tristill::jinja {
namespace {

constexpr int64_t kMaxRange = 100000;  // as the sandbox of Jinja

Value range(Context& context, const Arguments& arguments) {
  const Parameters given(context, "range", arguments, {"start", "stop", "step"});
  const bool has_start = given.at(1) != nullptr;
  for (size_t i = 0; i < arguments.positional.size(); ++i) {
    if (!is_integer(arguments.positional[i]))
      context.fail("range is given " + describe(arguments.positional[i]));
  }
  given.required(0);
  const int64_t start = has_start ? given.integer(0, 0) : 0;
  const int64_t stop = has_start ? given.integer(1, 0) : given.integer(0, 0);
  const int64_t step = given.integer(2, 1);
  if (step == 0) context.fail("the step of range is zero");
  std::vector<Value> items;
  for (int64_t at = start; step > 0 ? at < stop : at > stop;) {
    context.step();
    if (static_cast<int64_t>(items.size()) == kMaxRange) {
      context.fail("a range has more than " + std::to_string(kMaxRange) + " elements");
    }
    items.emplace_back(at);
    if (__builtin_add_overflow(at, step, &at)) break;
  }
  return make_list(context, std::move(items));
}

// The entries of dict() and namespace(): those of a dictionary, then the named arguments.
std::vector<std::pair<Value, Value>> entries_of(Context& context, const char* what,
                                                const Arguments& arguments) {
  std::vector<std::pair<Value, Value>> entries;
  if (arguments.positional.size() > 1) context.fail(std::string(what) + " takes one dictionary");
  if (!arguments.positional.empty()) {
    const Dict* dict = dict_of(arguments.positional[0]);
    if (dict == nullptr) {
      context.fail(std::string(what) + " is given " + describe(arguments.positional[0]) +
                   "; accepted are a dictionary and named arguments");
    }
    context.step(dict->entries.size());
    entries = dict->entries;
  }
  for (const auto& [name, value] : arguments.named) {
    const auto same = std::find_if(entries.begin(), entries.end(), [&](const auto& entry) {
      return text_of(entry.first) != nullptr && text_of(entry.first)->bytes() == name;
    });
    if (same != entries.end()) same->second = value;
    else entries.emplace_back(make_text(context, Text(name, Origin::written)), value);
  }
  return entries;
}

Value dict(Context& context, const Arguments& arguments) {
  return make_dict(context, entries_of(context, "dict", arguments));
}

Value make_namespace(Context& context, const Arguments& arguments) {
  Namespace* const space = context.make_namespace();
  for (auto& [key, value] : entries_of(context, "namespace", arguments)) {
    if (text_of(key) == nullptr) context.fail("an attribute of a namespace is " + describe(key));
    context.make_bytes(text_of(key)->size() + sizeof value);
    space->values[text_of(key)->bytes()] = std::move(value);
  }
  return space;
}

Value raise_exception(Context& context, const Arguments& arguments) {
  const Parameters given(context, "raise_exception", arguments, {"message"});
  context.refuse(to_text(context, given.required(0)).bytes());
}

// Plain conversions alone: widths and flags of the C library are not Python's.
void check_time_format(Context& context, std::string_view format) {
  constexpr std::string_view kAccepted = "aAbBdHIjmMpSUwWxXcyYZzGuVeFTDR%";
  if (format.size() > 128) context.fail("the format of strftime_now is longer than 128 bytes");
  for (size_t at = format.find('%'); at != std::string_view::npos; at = format.find('%', at + 2)) {
    if (at + 1 == format.size() || kAccepted.find(format[at + 1]) == std::string_view::npos) {
      context.fail("the format of strftime_now has a conversion other than % and one of " +
                   std::string(kAccepted));
    }
  }
}

Value strftime_now(Context& context, const Arguments& arguments) {
  const Parameters given(context, "strftime_now", arguments, {"format"});
  const std::string& format = given.text(0).bytes();
  check_time_format(context, format);
  const time_t seconds = std::chrono::system_clock::to_time_t(context.now());
  struct tm local{};
  ::localtime_r(&seconds, &local);
  char text[4096];
  const size_t length = ::strftime(text, sizeof text, format.c_str(), &local);
  return make_text(context, Text({text, length}, Origin::data));
}

struct Named {
  std::string_view name;
  Value (*function)(Context&, const Arguments&);
};

constexpr Named kGlobals[] = {{"dict", dict},
                              {"namespace", make_namespace},
                              {"raise_exception", raise_exception},
                              {"range", range},
                              {"strftime_now", strftime_now}};

}  // namespace

Value find_global(std::string_view name) {
  for (const Named& one : kGlobals) {
    if (one.name == name) return make_function(std::string(name), one.function);
  }
  return Undefined{name};
}

}  // namespace tristill::jinja
