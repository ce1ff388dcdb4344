// The members of a ZIP archive that stores them as they are, as torch.save does (PKWARE's
// APPNOTE.TXT 6.3, with ZIP64). Reads untrusted files: every offset is checked. Any thread.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <span>
#include <string>

#include "base/result.h"

namespace tristill::convert {

using ZipMembers = std::map<std::string, std::span<const std::byte>, std::less<>>;

bool is_zip(std::span<const std::byte> file);

// Views into `file`. Errors: corrupt; invalid_argument for a member that is compressed.
Result<ZipMembers> read_zip(std::span<const std::byte> file);

}  // namespace tristill::convert
