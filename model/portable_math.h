// log, exp, sine and cosine from +, -, *, / alone, so that they give the same bits on every machine
// (the C library picks variants by CPU). fdlibm's formulas, below 1e-15 relative. Any thread.
// Not for inner loops: kernels have their own float exponential.
#pragma once

namespace tristill {

struct SineCosine {
  double sine, cosine;
};

double portable_exp(double x);  // |x| < 700
double portable_log(double x);  // x > 0 and normal
SineCosine portable_sin_cos(double x);  // 0 <= x < 2^22

}  // namespace tristill
