// Lines from a terminal, edited as they are typed, with the lines typed before (libedit). One
// thread; one at a time a process. Knows nothing of what the lines mean.
#pragma once

#include <memory>
#include <string>

#include "client/line_history.h"

namespace tristill::client {

class LineEditor {
 public:
  enum class Got {
    line,       // text() is one, without its end
    cancelled,  // Ctrl-C: nothing is to happen
    end,        // Ctrl-D, or the terminal is gone
  };

  explicit LineEditor(LineHistory& history);
  ~LineEditor();
  LineEditor(const LineEditor&) = delete;
  LineEditor& operator=(const LineEditor&) = delete;

  // Shows the prompt and waits for a line.
  Got read(const std::string& prompt);
  const std::string& text() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tristill::client
