// A ternary matrix packed for the engine's kernels, with the memory that it lies in.
#pragma once

#include <cstdint>
#include <vector>

#include "model/panels.h"

namespace tristill::train {

class EnginePanels {
 public:
  explicit EnginePanels(const IntegerMatrix& matrix) {
    const IntegerMatrix* parts[] = {&matrix};
    panels_ = panel_shape(kernels::PanelKind::ternary, Stacking::sequence, parts);
    memory_.resize(panels_.bytes());
    panels_.data = memory_.data();
    ThreadTeam team(1);
    fill_panels(panels_, Stacking::sequence, parts, team);
  }
  EnginePanels(const EnginePanels&) = delete;
  EnginePanels& operator=(const EnginePanels&) = delete;
  const PanelMatrix& matrix() const { return panels_; }

 private:
  PanelMatrix panels_;
  std::vector<uint8_t> memory_;
};

}  // namespace tristill::train
