// How much memory of the machine this process holds, whoever took it: tensors, libraries, files
// that are mapped and were read. Not a device's memory. Any thread.
#pragma once

#include <cstdint>
#include <optional>

namespace tristill::train {

// Bytes now; nothing when the kernel does not say.
std::optional<uint64_t> resident_bytes();

}  // namespace tristill::train
