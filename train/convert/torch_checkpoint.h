// Weights from a file of torch.save (.pt, .pth, .bin): a ZIP archive with a pickle, which is read
// as data and never run (train/convert/pickle.h), and one member a storage. What is taken is a
// state_dict, alone or as an entry "model_state_dict", "state_dict" or "model" of a checkpoint.
// Reads untrusted files. Any thread.
//
// A matrix may be packed as distillix exports it: NAME.weight of uint8 with NAME_shape and
// NAME_scale beside it; FloatType::i2s.
#pragma once

#include <cstddef>
#include <span>

#include "base/result.h"
#include "train/convert/float_tensor.h"

namespace tristill::convert {

// Views into `file`. Errors: corrupt naming what is wrong; invalid_argument for a file of torch
// before 1.6, a tensor that is not contiguous, or one that is not of floats of 2 or 4 bytes.
Result<FloatTensors> read_torch_checkpoint(std::span<const std::byte> file);

}  // namespace tristill::convert
