// SIGINT and SIGTERM ask the training loop to save and stop; a second one ends the program at once.
#pragma once

#include <csignal>

namespace signals {

// The number of the signal that came, 0 before one does.
inline volatile std::sig_atomic_t pending = 0;

// Sets up the handlers.
inline void install() {
    struct sigaction action {};
    action.sa_handler = [](int signal) { pending = signal; };
    action.sa_flags = int(SA_RESETHAND);
    sigaction(SIGINT, &action, nullptr);
    sigaction(SIGTERM, &action, nullptr);
    // A write over the file size limit must fail with an error that can be reported, not end the program.
    std::signal(SIGXFSZ, SIG_IGN);
}

}  // namespace signals
