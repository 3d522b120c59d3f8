// Signals ask the training loop to save, or to save and stop. Long work asks here between its parts whether one came.
#pragma once

#include <csignal>
#include <exception>
#include <string>

namespace signals {

// The number of the signal that asks to stop, 0 before one comes.
inline volatile std::sig_atomic_t stop = 0;
// Whether SIGUSR1 has asked for a checkpoint since this was last set to 0.
inline volatile std::sig_atomic_t save = 0;

// Thrown by throw_if_stopped(): no Error, since nothing went wrong.
class Stopped : public std::exception {
  public:
    explicit Stopped(int signal) : signal(signal) {}
    const char* what() const noexcept override { return "stopped by a signal before training began"; }
    const int signal;
};
// For what comes before training: throws Stopped where a signal asks to stop.
inline void throw_if_stopped() {
    if (stop != 0) throw Stopped(stop);
}

// Sets up the handlers. SIGINT, SIGTERM and SIGQUIT end the program at once when they come a second time.
inline void install() {
    // oneDNN's kernels for AVX-512 keep data where a signal's frame would go, so that handlers need another stack.
    alignas(16) static char stack[1 << 16];
    stack_t alternate{};
    alternate.ss_sp = stack;
    alternate.ss_size = sizeof stack;
    sigaltstack(&alternate, nullptr);
    const auto handle = [](int signal, void (*handler)(int), int flags) {
        struct sigaction action {};
        action.sa_handler = handler;
        action.sa_flags = flags | SA_ONSTACK;
        sigaction(signal, &action, nullptr);
    };
    const auto stops = [](int signal) { stop = signal; };
    for (const int signal : {SIGINT, SIGTERM, SIGQUIT}) handle(signal, stops, int(SA_RESETHAND));
    handle(SIGUSR2, stops, SA_RESTART);
    // nohup and some batch systems start programs so that they outlive their terminal.
    struct sigaction hangup {};
    sigaction(SIGHUP, nullptr, &hangup);
    if (hangup.sa_handler != SIG_IGN) handle(SIGHUP, stops, SA_RESTART);
    handle(
        SIGUSR1, [](int) { save = 1; }, SA_RESTART);
    // Writes to a closed pipe, or over the file size limit, must fail with an error, not end the program.
    for (const int signal : {SIGPIPE, SIGXFSZ}) std::signal(signal, SIG_IGN);
}

}  // namespace signals
