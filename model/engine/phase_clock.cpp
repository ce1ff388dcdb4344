#include "model/engine/phase_clock.h"

namespace tristill::engine {

void PhaseClock::admit(Time now) {
  if (!admitted_) admitted_ = now;
}

void PhaseClock::start_output(Time now) {
  if (!first_output_) first_output_ = now;
}

void PhaseClock::measure(Time now, TokenEvent& event) const {
  const auto ms = [](Time from, Time to) {
    return std::chrono::duration<double, std::milli>(to - from).count();
  };
  const Time admitted = admitted_.value_or(now);
  const Time first_output = first_output_.value_or(now);
  event.queued_ms = ms(submitted_, admitted);
  event.prefill_ms = ms(admitted, first_output);
  event.decode_ms = ms(first_output, now);
}

bool PhaseClock::is_late(Time now, const GenerationRequest& request) const {
  if (request.deadline && now >= *request.deadline) return true;
  if (first_output_) return request.max_decode && now - *first_output_ >= *request.max_decode;
  return admitted_ && request.max_prefill && now - *admitted_ >= *request.max_prefill;
}

}  // namespace tristill::engine
