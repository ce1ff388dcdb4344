#include "train/job/loss_spec.h"

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>

#include "train/job/fields.h"

namespace tristill::job {
namespace {

constexpr std::pair<const char*, Divergence> kDivergences[] = {
    {"forward_kl", Divergence::forward_kl},
    {"reverse_kl", Divergence::reverse_kl},
    {"jsd", Divergence::jsd},
    {"skew_kl", Divergence::skew_kl},
    {"skew_reverse_kl", Divergence::skew_reverse_kl}};
constexpr std::pair<const char*, Tail> kTails[] = {{"other", Tail::other},
                                                   {"ignore", Tail::ignore},
                                                   {"sampled", Tail::sampled},
                                                   {"counts", Tail::counts}};

bool is_skew(Divergence divergence) {
  return divergence == Divergence::skew_kl || divergence == Divergence::skew_reverse_kl;
}

// Settings of the loss that would not do what they say.
void check_loss(Fields& fields, const LossSpec& loss) {
  const DistillationSpec& kd = loss.distillation;
  const auto refuse = [&](const char* field, const std::string& why) {
    if (fields.has(field)) fields.fail(field, "loss." + std::string(field) + " " + why);
  };
  if (kd.divergence != Divergence::jsd) refuse("jsd_beta", "needs loss.divergence jsd");
  if (!is_skew(kd.divergence)) {
    refuse("skew_alpha", "needs loss.divergence skew_kl or skew_reverse_kl");
  }
  if (kd.tail == Tail::sampled || kd.tail == Tail::counts) {
    const std::string only = " is unbiased only with ";
    if (kd.divergence != Divergence::forward_kl) {
      refuse("tail", std::string(to_string(kd.tail)) + only + "loss.divergence forward_kl");
    }
    if (kd.temperature != 1.0) {
      refuse("tail", std::string(to_string(kd.tail)) + only + "loss.temperature 1");
    }
  }
  if (loss.label_smoothing > 0 && loss.focal_gamma > 0) {
    refuse("focal_gamma", "and loss.label_smoothing pull opposite ways; set one of them to 0");
  }
  if (loss.format_weight == 0) {
    refuse("format_characters", "needs loss.format_weight above 0");
  }
}

}  // namespace

std::string_view to_string(Divergence divergence) {
  return kDivergences[static_cast<size_t>(divergence)].first;
}

std::string_view to_string(Tail tail) { return kTails[static_cast<size_t>(tail)].first; }

void read_loss(Fields& fields, LossSpec& loss) {
  DistillationSpec& kd = loss.distillation;
  fields.real("ce_weight", 0, 1e3, loss.ce_weight);
  fields.real("kd_weight", 0, 1e3, loss.kd_weight);
  fields.real("z_loss", 0, 1, loss.z_loss);
  fields.real("label_smoothing", 0, 0.9, loss.label_smoothing);
  fields.real("focal_gamma", 0, 10, loss.focal_gamma);
  fields.choice<Divergence>("divergence", {std::begin(kDivergences), std::end(kDivergences)},
                            kd.divergence);
  fields.real("temperature", 0.1, 100, kd.temperature);
  fields.choice<Tail>("tail", {std::begin(kTails), std::end(kTails)}, kd.tail);
  fields.real("jsd_beta", 1e-3, 0.999, kd.jsd_beta);
  fields.real("skew_alpha", 1e-3, 0.999, kd.skew_alpha);
  fields.real("format_weight", 0, 1e3, loss.format_weight);
  fields.text("format_characters", loss.format_characters);
  const bool printable = std::ranges::all_of(loss.format_characters, [](char c) {
    return (c >= ' ' && c <= '~') || c == '\n' || c == '\t';
  });
  if (loss.format_characters.empty() || loss.format_characters.size() > 64 || !printable) {
    fields.refuse("format_characters", "1 to 64 ASCII characters");
  }
  if (!fields.failed()) check_loss(fields, loss);
}

nlohmann::json loss_json(const LossSpec& loss) {
  const DistillationSpec& kd = loss.distillation;
  nlohmann::json out = {{"ce_weight", loss.ce_weight},
                        {"kd_weight", loss.kd_weight},
                        {"z_loss", loss.z_loss},
                        {"label_smoothing", loss.label_smoothing},
                        {"focal_gamma", loss.focal_gamma},
                        {"divergence", to_string(kd.divergence)},
                        {"temperature", kd.temperature},
                        {"tail", to_string(kd.tail)},
                        {"format_weight", loss.format_weight}};
  if (kd.divergence == Divergence::jsd) out["jsd_beta"] = kd.jsd_beta;
  if (is_skew(kd.divergence)) out["skew_alpha"] = kd.skew_alpha;
  if (loss.format_weight > 0) out["format_characters"] = loss.format_characters;
  return out;
}

}  // namespace tristill::job
