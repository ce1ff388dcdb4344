// Ctrl-C: the first one asks the command to end (its connection closes, which cancels a
// completion), the second one kills. Process-wide; set up once by run_client.
#pragma once

#include <chrono>

namespace tristill::client {

void catch_interrupts();
bool interrupted();

// Goes on after a Ctrl-C that ended one answer: the next one is the first again.
void forget_interrupt();

// Waits, or returns early when interrupted.
void pause_for(std::chrono::milliseconds wait);

// Ends the process as SIGINT does by default, so that the calling shell sees it.
[[noreturn]] void die_of_interrupt();

}  // namespace tristill::client
