#include "train/quant/ternary_rule.h"

#include "train/quant/absmean.h"
#include "train/quant/lsq.h"
#include "train/quant/seq.h"
#include "train/quant/tequila.h"
#include "train/quant/twn.h"

namespace tristill::train {

std::shared_ptr<const TernaryRule> ternary_rule(const job::QuantizationSpec& spec) {
  switch (spec.weights) {
    case job::WeightRule::twn: return std::make_shared<Twn>();
    case job::WeightRule::lsq: return std::make_shared<LearnedScale>(kLsq);
    case job::WeightRule::seq: return std::make_shared<LearnedScale>(kSeq);
    case job::WeightRule::tequila:
      return std::make_shared<Tequila>(static_cast<float>(spec.tequila_lambda));
    case job::WeightRule::absmean: break;
  }
  return std::make_shared<Absmean>();
}

}  // namespace tristill::train
