// Precompiled once for all of train/: libtorch's headers cost 8 s a translation unit otherwise.
// Never torch/torch.h: templates of its whole frontend are then instantiated in every one, as long
// again. libtorch defines a CHECK of its own; ours takes its place.
#pragma once

#include <torch/csrc/autograd/custom_function.h>
#include <torch/types.h>

#undef CHECK

#include "base/check.h"
