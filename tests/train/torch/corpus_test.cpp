// Corpora: what of a folder becomes documents, under which licence, and what is a copy of what.
#include "train/data/corpus.h"
#include "tests/support/temporary_folder.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "base/atomic_file.h"
#include "base/random.h"
#include "train/data/license.h"
#include "train/data/near_duplicates.h"

namespace tristill::train {
namespace {

using Split = job::ManifestLine::Split;

Result<Corpus> read(const job::ResolvedCorpus& wanted, CorpusOptions options = {}) {
  const auto files = list_files(wanted);
  if (!files) return files.error();
  return read_corpus(wanted, *files, options);
}

std::map<std::string, job::ManifestLine> by_path(const Corpus& corpus) {
  std::map<std::string, job::ManifestLine> lines;
  for (const job::ManifestLine& line : corpus.files) lines[line.path] = line;
  return lines;
}

TEST(Corpus, SaysOfEachFileWhatBecameOfItAndKeepsItsSplit) {
  const tests::TemporaryFolder folder;
  folder.write("a.py", "x = 1\ny = 2\n");
  folder.write("copy/of_a.py", "\nx = 1  \r\ny = 2");
  folder.write("b.txt", "no");
  folder.write("c.py", std::string("\xff\xfe", 2));
  folder.write("large.py", std::string(kMaxSourceFile + 1, 'x'));
  folder.write("__pycache__/d.py", "y = 2\n");
  for (int i = 0; i < 40; ++i) {
    folder.write("m" + std::to_string(i) + ".py", "m = " + std::to_string(i) + "\n");
  }
  const job::ResolvedCorpus wanted{{.name = "test"}, folder.path().string()};
  uint64_t told = 0;
  const auto corpus =
      read(wanted, {.held_out = 0.3, .on_read = [&](uint64_t bytes) { told += bytes; }});
  ASSERT_TRUE(corpus) << corpus.error().message;
  EXPECT_EQ(corpus->documents.size(), 41U);
  const auto lines = by_path(*corpus);
  EXPECT_EQ(lines.size(), 44U);
  EXPECT_EQ(lines.at("copy/of_a.py").reason, "duplicate");
  EXPECT_EQ(lines.at("c.py").reason, "not_text");
  EXPECT_EQ(lines.at("large.py").reason, "size");
  EXPECT_EQ(lines.at("large.py").sha256, "");
  EXPECT_EQ(lines.at("a.py").license, "unknown");
  uint64_t bytes = 0, held_out = 0;
  for (const auto& [path, line] : lines) bytes += line.bytes;
  EXPECT_EQ(told, bytes);
  for (const Document& document : corpus->documents) {
    EXPECT_EQ(document.held_out, is_held_out(document.path, 0.3));
    EXPECT_EQ(corpus->files[document.file].path, document.path);
    EXPECT_EQ(corpus->files[document.file].split,
              document.held_out ? Split::held_out : Split::train);
    held_out += document.held_out ? 1 : 0;
  }
  EXPECT_GT(held_out, 3U);
  EXPECT_LT(held_out, 25U);
}

TEST(Corpus, WhatIsMissingIsNamed) {
  const auto gone = read({{.name = "gone"}, "/nonexistent/place"});
  ASSERT_FALSE(gone);
  EXPECT_EQ(gone.error().code, ErrorCode::not_found);
  EXPECT_NE(gone.error().message.find("gone"), std::string::npos);

  const tests::TemporaryFolder folder;
  folder.write("a.py", "x");
  const auto other = read({{.name = "code", .extensions = {".rs", ".go"}}, folder.path().string()});
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().param, "data.corpora");
  EXPECT_NE(other.error().message.find("corpus code: no file ends in .rs, .go"), std::string::npos)
      << other.error().message;
}

TEST(Corpus, LicensesThatAreNotAcceptedAreLeftOut) {
  const tests::TemporaryFolder folder;
  folder.write("LICENSE",
               "Permission is hereby granted, free of charge, to any person\nobtaining a copy");
  folder.write("a.py", "a = 1\n");
  folder.write("b.py", "# SPDX-License-Identifier: GPL-3.0-or-later OR BSD-3-Clause\nb = 1\n");
  folder.write("gnu/COPYING.txt", "GNU GENERAL PUBLIC LICENSE\n   Version 3, 29 June 2007");
  folder.write("gnu/deep/c.py", "c = 1\n");
  folder.write("odd/LICENSE.md", "All rights reserved.");
  folder.write("odd/d.py", "d = 1\n");
  const job::ResolvedCorpus wanted{{.name = "test"}, folder.path().string()};
  const auto all = read(wanted);
  ASSERT_TRUE(all);
  EXPECT_EQ(all->documents.size(), 4U);
  const auto lines = by_path(*all);
  EXPECT_EQ(lines.at("a.py").license, "MIT");
  EXPECT_EQ(lines.at("b.py").license, "GPL-3.0-or-later OR BSD-3-Clause");
  EXPECT_EQ(lines.at("gnu/deep/c.py").license, "GPL-3.0-only");
  EXPECT_EQ(lines.at("odd/d.py").license, "unknown");

  const auto some = read(wanted, {.licenses = {"mit", "BSD-3-Clause"}});
  ASSERT_TRUE(some);
  EXPECT_EQ(some->documents.size(), 2U);
  EXPECT_EQ(by_path(*some).at("gnu/deep/c.py").reason, "license");

  const auto none = read(wanted, {.licenses = {"Zlib"}});
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().param, "data.corpora");
  EXPECT_NE(none.error().message.find("license 4"), std::string::npos) << none.error().message;
  EXPECT_NE(none.error().message.find("GPL-3.0-only 1"), std::string::npos);
}

constexpr const char* kChat =
    R"({"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]})";

TEST(Corpus, LinesBecomeDocumentsAndCopiesAreDropped) {
  const tests::TemporaryFolder folder;
  folder.write("a.jsonl", std::string(kChat) + "\r\n\n{\"prompt\": \"Q\", \"output\": \"A\"}\n" +
                              R"({"prompt": "Q", "responses": {"s": "B", "t": "C"}})" +
                              "\n{\"text\": \"whole\"}");
  const job::ResolvedCorpus wanted{
      {.name = "talk", .format = job::CorpusFormat::jsonl, .extensions = {".jsonl"}},
      folder.path().string()};
  const auto corpus = read(wanted);
  ASSERT_TRUE(corpus) << corpus.error().message;
  ASSERT_EQ(corpus->documents.size(), 4U);
  const Document& chat = corpus->documents[0];
  EXPECT_EQ(chat.path, "a.jsonl:1");
  EXPECT_EQ(chat.text, "user: Q\n\nassistant: A");
  ASSERT_EQ(chat.parts.size(), 2U);
  EXPECT_EQ(chat.parts[0].bytes, chat.text.size() - 2);
  EXPECT_FALSE(chat.parts[0].learned);
  EXPECT_TRUE(chat.parts[1].learned);
  EXPECT_EQ(corpus->documents[2].path, "a.jsonl:4");
  EXPECT_TRUE(corpus->documents[3].parts.empty());
  EXPECT_EQ(corpus->files[0].duplicates, 1U);
  EXPECT_EQ(corpus->files[0].train_samples, 4U);
  EXPECT_EQ(corpus->files[0].split, Split::train);
}

TEST(Corpus, TheAnswersToOneQuestionStayOnOneSide) {
  const tests::TemporaryFolder folder;
  std::string lines;
  for (int i = 0; i < 60; ++i) {
    lines += "{\"prompt\": \"Q" + std::to_string(i % 20) + "\", \"output\": \"A" +
             std::to_string(i) + "\"}\n";
  }
  folder.write("a.jsonl", lines);
  const auto corpus =
      read({{.name = "talk", .format = job::CorpusFormat::jsonl, .extensions = {".jsonl"}},
            folder.path().string()},
           {.held_out = 0.4});
  ASSERT_TRUE(corpus);
  std::map<std::string, std::set<bool>> sides;
  for (const Document& document : corpus->documents) {
    sides[document.text.substr(0, document.parts[0].bytes)].insert(document.held_out);
  }
  EXPECT_EQ(sides.size(), 20U);
  for (const auto& [question, side] : sides) EXPECT_EQ(side.size(), 1U) << question;
  const job::ManifestLine& line = corpus->files[0];
  EXPECT_EQ(line.split, Split::mixed);
  EXPECT_GT(line.held_out_samples, 0U);
  EXPECT_EQ(line.held_out_samples + line.train_samples, 60U);
}

TEST(Corpus, ABadLineIsNamedByFileAndNumber) {
  const tests::TemporaryFolder folder;
  folder.write("sub/train.jsonl", std::string(kChat) + "\n\n{\"prompt\": \"Q\"}\n");
  const auto corpus =
      read({{.name = "talk", .format = job::CorpusFormat::jsonl, .extensions = {".jsonl"}},
            folder.path().string()});
  ASSERT_FALSE(corpus);
  EXPECT_EQ(corpus.error().code, ErrorCode::invalid_argument);
  EXPECT_EQ(corpus.error().param, "data.corpora");
  EXPECT_TRUE(corpus.error().message.starts_with(
      "corpus talk: sub/train.jsonl line 3: the line is not accepted; give messages"))
      << corpus.error().message;
}

TEST(License, TextsAreToldByTheirPhrase) {
  const struct {
    const char* text;
    const char* id;
  } texts[] = {
      {"MIT License\n\nPermission is hereby granted, free of charge, to any person obtaining a "
       "copy",
       "MIT"},
      {"   Apache License\n  Version 2.0, January 2004", "Apache-2.0"},
      {"Redistribution and use in source and binary forms, with or without\nmodification, are "
       "permitted provided that",
       "BSD-2-Clause"},
      {"Redistribution and use in source and binary forms, with or without modification, are\n"
       "3. Neither the name of the copyright holder",
       "BSD-3-Clause"},
      {"Redistribution and use in source and binary forms, with or without modification, are\n"
       "3. All advertising materials mentioning features\n4. Neither the name",
       "BSD-4-Clause"},
      {"Permission to use, copy, modify, and/or distribute this software for any purpose with or "
       "without fee is hereby granted, provided that",
       "ISC"},
      {"GNU GENERAL PUBLIC LICENSE\nVersion 2, June 1991 ... use the GNU Lesser General Public "
       "License instead",
       "GPL-2.0-only"},
      {"GNU GENERAL PUBLIC LICENSE\nVersion 3, 29 June 2007", "GPL-3.0-only"},
      {"GNU LIBRARY GENERAL PUBLIC LICENSE\nVersion 2, June 1991", "LGPL-2.0-only"},
      {"GNU LESSER GENERAL PUBLIC LICENSE\nVersion 2.1, February 1999", "LGPL-2.1-only"},
      {"GNU LESSER GENERAL PUBLIC LICENSE\nVersion 3, 29 June 2007 ... GNU General Public License "
       "version 3",
       "LGPL-3.0-only"},
      {"GNU AFFERO GENERAL PUBLIC LICENSE\nVersion 3, 19 November 2007", "AGPL-3.0-only"},
      {"Mozilla Public License Version 2.0 ... GNU General Public License, Version 2.0", "MPL-2.0"},
      {"A. HISTORY\nPYTHON SOFTWARE FOUNDATION LICENSE VERSION 2\n ... Permission to use, copy, "
       "modify, and/or distribute this software for any purpose with or without fee is hereby "
       "granted, provided",
       "PSF-2.0"},
      {"This is free and unencumbered software released into the public domain.", "Unlicense"},
      {"Creative Commons Legal Code\n\nCC0 1.0 Universal", "CC0-1.0"},
      {"Ask me first.", "unknown"}};
  for (const auto& [text, id] : texts) EXPECT_EQ(recognise_license(text), id) << text;
}

TEST(License, OwnLinesAreReadAndExpressionsJudged) {
  EXPECT_EQ(spdx_expression("/* SPDX-License-Identifier: MIT */\n"), "MIT");
  EXPECT_EQ(spdx_expression("# SPDX-License-Identifier:  (MIT OR  Apache-2.0)\r\n# x"),
            "(MIT OR Apache-2.0)");
  EXPECT_EQ(spdx_expression("x = 1\n"), std::nullopt);
  for (const char* bad : {"", "MIT OR", "MIT Apache-2.0", "(MIT", "MIT)", "a/b", "WITH x", "AND"}) {
    EXPECT_EQ(spdx_expression(std::string("// SPDX-License-Identifier: ") + bad), std::nullopt)
        << bad;
  }
  EXPECT_EQ(spdx_expression("SPDX-License-Identifier: " + std::string(100000, '(')), std::nullopt);
  const std::vector<std::string> accepted = {"MIT", "apache-2.0"};
  for (const char* good :
       {"mit", "MIT OR GPL-2.0-only", "GPL-2.0-only OR MIT", "MIT AND Apache-2.0",
        "(GPL-2.0-only AND MIT) OR Apache-2.0", "Apache-2.0 WITH LLVM-exception",
        "MIT OR GPL-2.0-only AND BSD-2-Clause"}) {
    EXPECT_TRUE(is_license_accepted(good, accepted)) << good;
  }
  for (const char* bad : {"GPL-2.0-only", "MIT AND GPL-2.0-only", "(MIT OR Apache-2.0) AND ISC",
                          "unknown", "MIT AND unknown", "MIT-0", "GPL-2.0-only WITH MIT"}) {
    EXPECT_FALSE(is_license_accepted(bad, accepted)) << bad;
  }
}

double resemblance(std::string_view a, std::string_view b) {
  const auto left = shingles(a);
  const auto right = shingles(b);
  std::vector<uint64_t> both;
  std::ranges::set_intersection(left, right, std::back_inserter(both));
  const auto n = static_cast<double>(both.size());
  return n / (static_cast<double>(left.size() + right.size()) - n);
}

TEST(NearDuplicates, ResemblanceIsOfRunsOfFiveTokensWhateverTheWhiteSpace) {
  EXPECT_EQ(shingles("a b c d e f").size(), 2U);
  EXPECT_EQ(shingles("f(x_1)\n  == y"), shingles("f ( x_1 ) == y"));
  EXPECT_EQ(shingles("a b").size(), 1U);
  EXPECT_NE(shingles("a b"), shingles("ab"));
  EXPECT_TRUE(shingles(" \n").empty());
  EXPECT_DOUBLE_EQ(resemblance("a b c d e f", "a b c d e g"), 1.0 / 3);
}

// A text of n words of a small vocabulary, or one that differs from another in some words.
std::string words(RandomStream& random, size_t n) {
  std::string text;
  for (size_t i = 0; i < n; ++i) text += "w" + std::to_string(random.below(40)) + " ";
  return text;
}

std::string altered(const std::string& text, RandomStream& random, double share) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const size_t end = text.find(' ', at) + 1;
    if (random.uniform() < share) out += "other ";
    else out += text.substr(at, end - at);
    at = end;
  }
  return out;
}

TEST(NearDuplicates, FindsExactlyWhatEachPairComparedFinds) {
  RandomStream random(7, 0);
  std::vector<std::string> held_out;
  const std::string header = words(random, 60);  // what many begin with
  for (int i = 0; i < 40; ++i) {
    held_out.push_back((i % 2 == 0 ? header : "") + words(random, 5 + random.below(150)));
  }
  held_out.push_back("");
  const std::vector<std::string_view> views(held_out.begin(), held_out.end());
  size_t found = 0, asked = 0;
  for (const double threshold : {0.3, 0.5, 0.8, 1.0}) {
    const NearDuplicates index(views, threshold);
    for (int i = 0; i < 400; ++i) {
      const std::string& original = held_out[random.below(held_out.size())];
      const std::string text = altered(original, random, random.uniform() * 0.3);
      std::optional<size_t> expected;
      for (size_t d = 0; d < held_out.size() && !expected; ++d) {
        const bool empty = shingles(text).empty() || shingles(held_out[d]).empty();
        if (!empty && resemblance(text, held_out[d]) >= threshold) expected = d;
      }
      EXPECT_EQ(index.find(text), expected) << threshold << ": " << text;
      found += expected ? 1 : 0;
      ++asked;
    }
  }
  EXPECT_GT(found, asked / 10);
  EXPECT_LT(found, asked * 9 / 10);
}

}  // namespace
}  // namespace tristill::train
