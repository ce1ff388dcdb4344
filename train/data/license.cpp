#include "train/data/license.h"

#include <algorithm>
#include <set>
#include <utility>

#include "base/atomic_file.h"

namespace tristill::train {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxLicenseFile = 1 << 20;
constexpr size_t kHeadBytes = 8 << 10;  // where a file says its SPDX expression
constexpr size_t kMaxExpression = 256;  // bounds the depth of parentheses too

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }
char upper(char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; }
bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

std::string lowered(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(), lower);
  return out;
}

// In lower case, white space as one blank.
std::string flattened(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    if (!is_space(c)) out += lower(c);
    else if (!out.empty() && out.back() != ' ') out += ' ';
  }
  return out;
}

struct Phrase {
  std::string_view words, id;
};

// Titles and first sentences. The earliest in the text is the licence: GNU's name each other.
constexpr Phrase kPhrases[] = {
    {"permission is hereby granted, free of charge, to any person obtaining a copy", "MIT"},
    {"apache license version 2.0", "Apache-2.0"},
    {"apache license, version 2.0", "Apache-2.0"},
    {"redistribution and use in source and binary forms, with or without modification", "BSD"},
    {"and distribute this software for any purpose with or without fee is hereby granted, provided",
     "ISC"},
    {"and/or distribute this software for any purpose with or without fee is hereby granted, "
     "provided",
     "ISC"},
    {"python software foundation license version 2", "PSF-2.0"},
    {"mozilla public license version 2.0", "MPL-2.0"},
    {"mozilla public license, version 2.0", "MPL-2.0"},
    {"this is free and unencumbered software released into the public domain", "Unlicense"},
    {"cc0 1.0 universal", "CC0-1.0"},
    {"gnu general public license version 2", "GPL-2.0-only"},
    {"gnu general public license version 3", "GPL-3.0-only"},
    {"gnu library general public license version 2", "LGPL-2.0-only"},
    {"gnu lesser general public license version 2.1", "LGPL-2.1-only"},
    {"gnu lesser general public license version 3", "LGPL-3.0-only"},
    {"gnu affero general public license version 3", "AGPL-3.0-only"}};

// The clauses about advertising and about the names of contributors tell the three apart.
std::string bsd_of(std::string_view flat) {
  if (flat.find("all advertising materials mentioning") != std::string_view::npos) {
    return "BSD-4-Clause";
  }
  const bool names = flat.find("neither the name") != std::string_view::npos ||
                     flat.find("the names of its contributors") != std::string_view::npos ||
                     flat.find("may not be used to endorse") != std::string_view::npos;
  return names ? "BSD-3-Clause" : "BSD-2-Clause";
}

// Reads an expression and finds, on the way, whether the accepted ids satisfy it.
class Expression {
 public:
  Expression(std::string_view text, const std::set<std::string>& accepted)
      : rest_(text.substr(0, kMaxExpression)), accepted_(accepted) {}

  // Nothing when the text is no expression.
  std::optional<bool> satisfied() {
    const bool result = any();
    return failed_ || !next().empty() ? std::nullopt : std::optional(result);
  }

 private:
  bool any() {
    bool result = all();
    while (take("or")) result = all() || result;
    return result;
  }
  bool all() {
    bool result = one();
    while (take("and")) result = one() && result;
    return result;
  }
  bool one() {
    if (take("(")) {
      const bool result = any();
      if (!take(")")) failed_ = true;
      return result;
    }
    const std::string id = read_id();
    if (take("with")) read_id();
    return accepted_.contains(id);
  }
  std::string read_id() {
    const std::string word = next();
    if (word.empty() || word == "(" || word == ")" || word == "or" || word == "and" ||
        word == "with") {
      failed_ = true;
    } else {
      rest_.remove_prefix(word.size());
    }
    return word;
  }
  bool take(std::string_view word) {
    if (failed_ || next() != word) return false;
    rest_.remove_prefix(word.size());
    return true;
  }
  // The word that comes next, in lower case; empty at the end and before what is no word.
  std::string next() {
    while (!rest_.empty() && is_space(rest_.front())) rest_.remove_prefix(1);
    if (rest_.empty()) return {};
    if (rest_.front() == '(' || rest_.front() == ')') return std::string(rest_.substr(0, 1));
    size_t n = 0;
    while (n < rest_.size() && is_id(rest_[n])) ++n;
    if (n == 0) failed_ = true;
    return lowered(rest_.substr(0, n));
  }
  static bool is_id(char c) {
    const char l = lower(c);
    return (l >= 'a' && l <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '+' ||
           c == ':';
  }

  std::string_view rest_;
  const std::set<std::string>& accepted_;
  bool failed_ = false;
};

bool is_license_file(const fs::directory_entry& entry) {
  if (entry.is_symlink() || !entry.is_regular_file()) return false;
  std::string name = entry.path().filename().string();
  const std::string ending = entry.path().extension().string();
  // LICENSE.MIT, COPYING.LIB; but not license.py.
  const bool shouts = std::ranges::none_of(ending, [](char c) { return c >= 'a' && c <= 'z'; });
  if (!shouts && ending != ".txt" && ending != ".md" && ending != ".rst") return false;
  std::ranges::transform(name, name.begin(), upper);
  for (const std::string_view word : {"LICENSE", "LICENCE", "COPYING", "UNLICENSE"}) {
    if (!name.starts_with(word)) continue;
    const char next = name.size() > word.size() ? name[word.size()] : '.';
    if (next == '.' || next == '-' || next == '_') return true;
  }
  return false;
}

}  // namespace

std::string recognise_license(std::string_view text) {
  const std::string flat = flattened(text);
  size_t first = std::string::npos;
  std::string_view id = kUnknownLicense;
  for (const Phrase& phrase : kPhrases) {
    const size_t at = flat.find(phrase.words);
    if (at >= first) continue;
    first = at;
    id = phrase.id;
  }
  return id == "BSD" ? bsd_of(flat) : std::string(id);
}

std::optional<std::string> spdx_expression(std::string_view text) {
  constexpr std::string_view kTag = "SPDX-License-Identifier:";
  text = text.substr(0, kHeadBytes);
  const size_t at = text.find(kTag);
  if (at == std::string_view::npos) return std::nullopt;
  std::string_view line = text.substr(at + kTag.size());
  line = line.substr(0, line.find('\n'));
  for (const std::string_view close : {"*/", "-->", "#}", "\"\"\""}) {
    line = line.substr(0, line.find(close));
  }
  std::string words;
  for (const char c : line) {
    if (!is_space(c)) words += c;
    else if (!words.empty() && words.back() != ' ') words += ' ';
  }
  if (!words.empty() && words.back() == ' ') words.pop_back();
  const std::set<std::string> none;
  if (words.size() > kMaxExpression || !Expression(words, none).satisfied()) return std::nullopt;
  return words;
}

bool is_license_accepted(std::string_view expression, const std::vector<std::string>& accepted) {
  std::set<std::string> ids;
  for (const std::string& id : accepted) ids.insert(lowered(id));
  return expression.size() <= kMaxExpression &&
         Expression(expression, ids).satisfied().value_or(false);
}

const std::string& FolderLicenses::of(const std::string& path) {
  return of_folder(fs::path(path).parent_path().generic_string());
}

const std::string& FolderLicenses::of_folder(const std::string& folder) {
  if (const auto found = known_.find(folder); found != known_.end()) return found->second;
  std::set<std::string> ids;
  for (const auto& entry : fs::directory_iterator(root_ / folder)) {
    if (!is_license_file(entry)) continue;
    const auto text = read_file(entry.path(), kMaxLicenseFile);
    ids.insert(text ? recognise_license(*text) : std::string(kUnknownLicense));
  }
  std::string all;
  for (const std::string& id : ids) all += (all.empty() ? "" : " AND ") + id;
  if (all.empty() && folder.empty()) all = kUnknownLicense;
  if (all.empty()) all = of_folder(fs::path(folder).parent_path().generic_string());
  return known_[folder] = std::move(all);
}

}  // namespace tristill::train
