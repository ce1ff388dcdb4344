// Weights of a panel's row, 16 columns at a time, as the products take them: four planes of four
// signed bytes. A warp's lanes are a panel's rows: what it loads together lies together.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "model/cuda/device_model.h"

namespace tristill::cuda {

constexpr uint32_t kPlaneColumns = 16;

struct Planes {
  uint32_t of[4];  // plane k: columns 4 k .. 4 k + 3
};

__device__ inline uint32_t load_dword(const uint8_t* p) {
  return *reinterpret_cast<const uint32_t*>(p);
}

// How much greater than the weights their planes are.
__device__ inline int32_t plane_offset(PanelKind kind) {
  return kind == PanelKind::ternary ? 1 : kind == PanelKind::int4 ? 8 : 0;
}

// Columns 16 step .. 16 step + 15 of row `row` of a panel; zeros beyond the matrix (times zeros).
template <PanelKind kKind>
__device__ inline Planes load_planes(const Matrix& m, uint32_t panel, uint32_t row, uint32_t step) {
  constexpr uint32_t kSteps = kKind == PanelKind::int8 ? 4 : kKind == PanelKind::int4 ? 2 : 1;
  const auto n_steps = static_cast<uint32_t>(kernels::panel_steps(kKind, m.cols));
  const auto stride = kernels::panel_bytes(kKind, m.cols);
  const uint8_t* at = m.panels + panel * stride + row * 4;
  Planes planes = {};
  if constexpr (kKind == PanelKind::sliced) {
    if (step >= n_steps) return planes;
    const uint32_t high[2] = {load_dword(at + 2 * step * kernels::kStepBytes),
                              load_dword(at + (2 * step + 1) * kernels::kStepBytes)};
    const size_t other = panel * (stride / 2) + row * 4 + step * kernels::kStepBytes;
    const uint32_t middle = load_dword(m.middle + other);
    const uint32_t low = load_dword(m.low + other);
    for (int k = 0; k < 4; ++k) {
      const uint32_t code = (high[k / 2] >> (4 * (k % 2)) & 0x0F0F0F0FU) << 4 |
                            (middle >> (2 * k) & 0x03030303U) << 2 | (low >> (2 * k) & 0x03030303U);
      planes.of[k] = code ^ 0x80808080U;
    }
    return planes;
  }
  uint32_t packed[kSteps] = {};
  for (uint32_t i = 0; i < kSteps; ++i) {
    const uint32_t s = step * kSteps + i;
    if (s < n_steps) packed[i] = load_dword(at + s * kernels::kStepBytes);
  }
  for (uint32_t k = 0; k < 4; ++k) {
    if constexpr (kKind == PanelKind::ternary) planes.of[k] = packed[0] >> (2 * k) & 0x03030303U;
    if constexpr (kKind == PanelKind::int4) {
      planes.of[k] = packed[k / 2] >> (4 * (k % 2)) & 0x0F0F0F0FU;
    }
    if constexpr (kKind == PanelKind::int8) planes.of[k] = packed[k];
  }
  return planes;
}

}  // namespace tristill::cuda
