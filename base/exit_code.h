// The exit codes of all three programs (sysexits.h numbers) and how an ErrorCode becomes one.
#pragma once

#include "base/result.h"

namespace tristill {

enum ExitCode : int {
  kExitOk = 0,
  kExitUsage = 64,        // wrong flags, wrong job specification
  kExitData = 65,         // corrupt model, data or checkpoint
  kExitNotFound = 66,     // a named input does not exist
  kExitUnavailable = 69,  // the daemon, a port or a teacher is not there
  kExitDefect = 70,       // our own error
  kExitResource = 71,     // out of memory or disk
  kExitConflict = 73,     // the thing is in a state that forbids this
  kExitInterrupted = 75,  // stopped after a checkpoint, by SIGTERM or for its health
  kExitPermission = 77,   // refused by the daemon: missing or wrong API key
};

constexpr ExitCode exit_code(ErrorCode code) {
  switch (code) {
    case ErrorCode::invalid_argument: return kExitUsage;
    case ErrorCode::not_found: return kExitNotFound;
    case ErrorCode::conflict: return kExitConflict;
    case ErrorCode::resource_exhausted: return kExitResource;
    case ErrorCode::unavailable: return kExitUnavailable;
    case ErrorCode::corrupt: return kExitData;
    case ErrorCode::cancelled: return kExitInterrupted;
    case ErrorCode::internal: return kExitDefect;
  }
  return kExitDefect;
}

}  // namespace tristill
