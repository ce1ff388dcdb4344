#include "train/job/health_file.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "train/job/fields.h"

namespace tristill::job {
namespace {

using nlohmann::json;

json finite(double number) { return std::isfinite(number) ? json(number) : json(nullptr); }

json matrix_json(const MatrixHealth& matrix) {
  return {{"name", matrix.name},
          {"gamma", finite(matrix.gamma)},
          {"std", finite(matrix.std)},
          {"zero_fraction", matrix.zero_fraction},
          {"plus_fraction", matrix.plus_fraction},
          {"flip_rate", matrix.flip_rate}};
}

}  // namespace

std::string format_health_file(const HealthFile& health) {
  json numbers = json::object();
  for (const auto& [name, number] : health.numbers) numbers[name] = finite(number);
  json alarms = json::array();
  for (const HealthAlarm& alarm : health.alarms) {
    alarms.push_back({{"code", alarm.code}, {"message", alarm.message}, {"param", alarm.param}});
  }
  json matrices = json::array();
  for (const MatrixHealth& matrix : health.matrices) matrices.push_back(matrix_json(matrix));
  const json resident = health.resident_bytes > 0 ? json(health.resident_bytes) : json(nullptr);
  const json out = {{"step", health.step},
                    {"healthy", health.healthy},
                    {"seen_tokens", health.seen_tokens},
                    {"timestamp", health.timestamp},
                    {"last_loss", finite(health.last_loss)},
                    {"loss_ema", finite(health.loss_ema)},
                    {"skipped_steps", health.skipped_steps},
                    {"lr", health.lr},
                    {"grad_norm", finite(health.grad_norm)},
                    {"tokens_per_second", finite(health.tokens_per_second)},
                    {"resident_bytes", resident},
                    {"activation_bits", health.activation_bits},
                    {"flip_done", health.flip_done},
                    {"numbers", numbers},
                    {"alarms", alarms},
                    {"matrices", matrices}};
  return out.dump(1) + "\n";
}

Result<bool> read_healthy(std::string_view text) {
  const auto object = parse_json_object(text);
  if (!object) return Error{ErrorCode::corrupt, "health.json: " + object.error().message, ""};
  const auto found = object->find("healthy");
  if (found == object->end() || !found->is_boolean()) {
    return Error{ErrorCode::corrupt, "health.json: healthy is missing or no boolean", ""};
  }
  return found->get<bool>();
}

}  // namespace tristill::job
