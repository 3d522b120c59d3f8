// Signals ask the training loop to save, or to save and stop. Long work asks here between its parts whether one came.
#pragma once

#include <atomic>
#include <csignal>
#include <exception>

namespace signals {

// The number of the signal that asks to stop, 0 before one comes.
inline std::atomic<int> stop = 0;
// Whether SIGUSR1 has asked for a checkpoint since this was last set to 0.
inline std::atomic<int> save = 0;

// Thrown by throw_if_stopped(): no Error, since nothing went wrong.
class Stopped : public std::exception {
  public:
    explicit Stopped(int number) : signal(number) {}
    const char* what() const noexcept override { return "stopped by a signal before training began"; }
    const int signal;
};
// For what comes before training: throws Stopped where a signal asks to stop.
inline void throw_if_stopped() {
    if (stop != 0) throw Stopped(stop);
}

// Has a thread of its own wait for the signals, so that none interrupts a computation; has to come before all other
// threads. SIGINT, SIGTERM, SIGQUIT, SIGHUP and SIGUSR2 ask to stop; SIGINT, SIGTERM and SIGQUIT end the program at
// once when they come a second time. SIGHUP stays ignored where it was, as nohup has it.
void install();

}  // namespace signals
