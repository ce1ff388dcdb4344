// Under which licence a file stands, as an SPDX expression: what its own SPDX-License-Identifier
// line says, else what the licence file of the nearest folder above it is, else "unknown".
// A licence is told by the phrase that it is known by, not by its whole text; terms that stand in
// a file's head without an SPDX line are not seen. FolderLicenses: one thread; the rest is pure.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tristill::train {

inline constexpr std::string_view kUnknownLicense = "unknown";

// The SPDX id of a licence's text: MIT, Apache-2.0, BSD-2-Clause, BSD-3-Clause, BSD-4-Clause, ISC,
// PSF-2.0, MPL-2.0, Unlicense, CC0-1.0, GPL-2.0-only, GPL-3.0-only, LGPL-2.0-only, LGPL-2.1-only,
// LGPL-3.0-only, AGPL-3.0-only or unknown. Of several texts in one the first counts. The GNU
// licences are "only": that later versions do too, a file has to say itself.
std::string recognise_license(std::string_view text);

// The expression of the first SPDX-License-Identifier line in the head of a file; nothing when
// there is none, or it is no expression.
std::optional<std::string> spdx_expression(std::string_view text);

// Whether an expression (SPDX specification, annex D: AND, OR, WITH, parentheses) is satisfied by
// the accepted ids; case does not matter. An exception only adds to what is permitted, so
// "X WITH Y" is X.
bool is_license_accepted(std::string_view expression, const std::vector<std::string>& accepted);

// The licences of the folders below root by their files LICENSE, LICENCE, COPYING and UNLICENSE,
// also with an ending (LICENSE.txt, LICENSE-MIT, COPYING.LIB). Several in a folder: AND of them.
class FolderLicenses {
 public:
  explicit FolderLicenses(std::filesystem::path root) : root_(std::move(root)) {}

  // Of a file by its path relative to root: the nearest folder's that has a licence file.
  const std::string& of(const std::string& path);

 private:
  const std::string& of_folder(const std::string& folder);

  std::filesystem::path root_;
  std::map<std::string, std::string> known_;
};

}  // namespace tristill::train
