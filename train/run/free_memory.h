// How much memory this process may still take: what the kernel says is available, or what is left
// of the control group's limit, whichever is less. Any thread.
#pragma once

#include <cstdint>
#include <optional>

namespace tristill::train {

// Bytes; nothing when the kernel does not say.
std::optional<uint64_t> free_memory_bytes();

}  // namespace tristill::train
