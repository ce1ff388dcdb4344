#include "model/portable_math.h"

#include <cmath>
#include <cstdint>

namespace tristill {
namespace {

constexpr double kLn2High = 6.93147180369123816490e-01;
constexpr double kLn2Low = 1.90821492927058770002e-10;
constexpr double kInvLn2 = 1.44269504088896338700;
constexpr double kTwoOverPi = 6.36619772367581382433e-01;
constexpr double kSqrtHalf = 0.70710678118654752440;
// pi / 2 in three parts of 33 bits: k times each is exact for k < 2^20.
constexpr double kHalfPi1 = 1.57079632673412561417;
constexpr double kHalfPi2 = 6.07710050630396597660e-11;
constexpr double kHalfPi3 = 2.02226624879595063154e-21;

// c[0] + z c[1] + z^2 c[2] + ...
template <int n>
double polynomial(double z, const double (&c)[n]) {
  double sum = c[n - 1];
  for (int i = n - 2; i >= 0; --i) sum = sum * z + c[i];
  return sum;
}

double sine_near_zero(double r) {
  const double z = r * r;
  return r + r * z *
                 polynomial(z, {-1.66666666666666324348e-01, 8.33333333332248946124e-03,
                                -1.98412698298579493134e-04, 2.75573137070700676789e-06,
                                -2.50507602534068634195e-08, 1.58969099521155010221e-10});
}

double cosine_near_zero(double r) {
  const double z = r * r;
  const double rest = polynomial(
      z, {4.16666666666666019037e-02, -1.38888888888741095749e-03, 2.48015872894767294178e-05,
          -2.75573143513906633035e-07, 2.08757232129817482790e-09, -1.13596475577881948265e-11});
  return 1.0 - (0.5 * z - z * z * rest);
}

}  // namespace

double portable_exp(double x) {
  const double k = std::floor(x * kInvLn2 + 0.5);
  const double high = x - k * kLn2High;
  const double low = k * kLn2Low;
  const double r = high - low;
  const double z = r * r;
  const double c = r - z * polynomial(z, {1.66666666666666019037e-01, -2.77777777770155933842e-03,
                                          6.61375632143793436117e-05, -1.65339022054652515390e-06,
                                          4.13813679705723846039e-08});
  const double y = 1.0 - ((low - (r * c) / (2.0 - c)) - high);
  return std::ldexp(y, static_cast<int>(k));
}

double portable_log(double x) {
  int exponent = 0;
  double m = std::frexp(x, &exponent);  // [0.5, 1)
  if (m < kSqrtHalf) {
    m *= 2.0;
    --exponent;
  }
  const double f = m - 1.0;
  const double s = f / (2.0 + f);
  const double z = s * s;
  const double rest = z * polynomial(z, {6.666666666666735130e-01, 3.999999999940941908e-01,
                                         2.857142874366239149e-01, 2.222219843214978396e-01,
                                         1.818357216161805012e-01, 1.531383769920937332e-01,
                                         1.479819860511658591e-01});
  const double half_square = 0.5 * f * f;
  const double k = exponent;
  return k * kLn2High - ((half_square - (s * (half_square + rest) + k * kLn2Low)) - f);
}

SineCosine portable_sin_cos(double x) {
  const double k = std::floor(x * kTwoOverPi + 0.5);
  const double r = ((x - k * kHalfPi1) - k * kHalfPi2) - k * kHalfPi3;
  const double s = sine_near_zero(r);
  const double c = cosine_near_zero(r);
  switch (static_cast<int64_t>(k) & 3) {
    case 0: return {s, c};
    case 1: return {c, -s};
    case 2: return {-s, -c};
    default: return {-c, s};
  }
}

}  // namespace tristill
