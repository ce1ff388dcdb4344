// Precompiled once for all of train/: libtorch's headers cost 8 s a translation unit otherwise.
// libtorch defines a CHECK of its own; ours takes its place.
#pragma once

#include <torch/torch.h>

#undef CHECK

#include "base/check.h"
