// The safetensors container (huggingface/safetensors, README "Format"): 8 bytes of header length,
// little endian; a JSON object name -> {dtype, shape, data_offsets}; the data. Reads untrusted
// files: every length, product and offset is checked. Any thread.
#pragma once

#include <cstddef>
#include <span>

#include "base/result.h"
#include "train/convert/float_tensor.h"

namespace tristill::convert {

// Views into `file`. Errors: corrupt naming what is wrong; invalid_argument for a tensor that is
// not F32, F16 or BF16.
Result<FloatTensors> read_safetensors(std::span<const std::byte> file);

}  // namespace tristill::convert
