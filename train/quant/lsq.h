// LSQ: learned step size (Esser et al. 2020, "Learned Step Size Quantization", eqs. 1-3) for three
// levels, Qn = Qp = 1:
//   W^ = alpha round(clip(W / alpha, -1, 1)),  thresholds at alpha / 2, levels at 0 and alpha
// One scale a matrix. Esser starts at 2 mean |W|; here at mean |W|, as absmean is.
#pragma once

#include "train/quant/learned_scale.h"

namespace tristill::train {

constexpr LearnedScaleForm kLsq{.levels = 1.0F, .clip = 1.0F};

}  // namespace tristill::train
