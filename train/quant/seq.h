// SEQ: stretched elastic quantisation (Liu et al. 2025, "ParetoQ", arXiv 2502.02631) for three
// levels, with a clip of 1 - 0.01 as its code has it:
//   W^ = alpha round(1.5 clip(W / alpha, -0.99, 0.99)) / 1.5
// thresholds at alpha / 3, levels at 0 and 2 alpha / 3: the three levels share -alpha .. alpha
// evenly, where LSQ gives the outer ones half the room. What is served is T with scale 2 alpha / 3.
// Beyond the clip dW^/dalpha is the level itself, T / 1.5; ParetoQ's code takes T there, which is
// no derivative of its forward pass. One scale a matrix, where ParetoQ has one a row.
#pragma once

#include "train/quant/learned_scale.h"

namespace tristill::train {

constexpr LearnedScaleForm kSeq{.levels = 1.5F, .clip = 0.99F};

}  // namespace tristill::train
