// Result<T>: a value or an Error, for failures that the caller can act on.
// Thread: plain data. Not for defects (CHECK) nor for what ends the whole piece of work (throw).
#pragma once

#include <string>
#include <utility>
#include <variant>

#include "base/check.h"

namespace tristill {

// Enumerators are spelled as on the wire; server/http maps them to statuses, exit_code.h to exits.
enum class ErrorCode {
  invalid_argument,    // the caller's value is wrong
  not_found,           // the named thing does not exist
  conflict,            // the thing is in a state that forbids this
  resource_exhausted,  // full disk, full queue, too large
  unavailable,         // not now; later may work
  corrupt,             // bytes that break their format
  cancelled,           // the caller left
  internal,            // our fault
};

struct Error {
  ErrorCode code = ErrorCode::internal;
  std::string message;  // names the thing, what is wrong with it, what is accepted
  std::string param;    // the field at fault, empty where none is
};

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}       // NOLINT implicit
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT implicit

  bool has_value() const { return state_.index() == 0; }
  explicit operator bool() const { return has_value(); }
  T& value() & { return checked(); }
  const T& value() const& { return const_cast<Result*>(this)->checked(); }
  T&& value() && { return std::move(checked()); }
  T& operator*() & { return checked(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(checked()); }
  T* operator->() { return &checked(); }
  const T* operator->() const { return &value(); }
  const Error& error() const {
    CHECK(!has_value());
    return *std::get_if<1>(&state_);
  }

 private:
  T& checked() {
    CHECK(has_value());
    return *std::get_if<0>(&state_);
  }
  std::variant<T, Error> state_;
};

// Success without a value, or an Error.
template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)), failed_(true) {}  // NOLINT implicit
  bool has_value() const { return !failed_; }
  explicit operator bool() const { return !failed_; }
  const Error& error() const {
    CHECK(failed_);
    return error_;
  }

 private:
  Error error_;
  bool failed_ = false;
};

}  // namespace tristill
