// Failure: what ends a command. Thrown by the API client and by the commands, caught in
// run_client alone, which prints it and exits with its code. Not for what a caller can act on.
#pragma once

#include <exception>
#include <string>
#include <utility>

#include "base/exit_code.h"

namespace tristill::client {

class Failure : public std::exception {
 public:
  Failure(ExitCode exit_code, std::string what_is_wrong, std::string field = "",
          std::string daemon_code = "")
      : exit(exit_code),
        message(std::move(what_is_wrong)),
        param(std::move(field)),
        code(std::move(daemon_code)) {}
  const char* what() const noexcept override { return message.c_str(); }

  ExitCode exit;
  std::string message;  // names the thing, what is wrong, and the remedy
  std::string param;    // the field or flag at fault, may be empty
  std::string code;     // the daemon's error code, may be empty
};

}  // namespace tristill::client
