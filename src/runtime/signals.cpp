#include "runtime/signals.h"

#include <pthread.h>

#include <thread>

namespace signals {
namespace {

void take(int signal) {
    if (signal == SIGUSR1) {
        save = 1;
        return;
    }
    const bool ends_at_once = signal == SIGINT || signal == SIGTERM || signal == SIGQUIT;
    if (stop.exchange(signal) == signal && ends_at_once) {
        sigset_t one;
        sigemptyset(&one);
        sigaddset(&one, signal);
        std::signal(signal, SIG_DFL);
        pthread_sigmask(SIG_UNBLOCK, &one, nullptr);
        std::raise(signal);
    }
}

}  // namespace

void install() {
    sigset_t set;
    sigemptyset(&set);
    struct sigaction nothing {};
    nothing.sa_handler = [](int) {};
    for (const int signal : {SIGINT, SIGTERM, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2}) {
        struct sigaction before {};
        sigaction(signal, nullptr, &before);
        if (signal == SIGHUP && before.sa_handler == SIG_IGN) continue;
        sigaddset(&set, signal);
        sigaction(signal, &nothing, nullptr);  // what is ignored is not waited for
    }
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
    std::thread([set] {
        for (int signal = 0;;)
            if (sigwait(&set, &signal) == 0) take(signal);
    }).detach();
    // Writes to a closed pipe, or over the file size limit, must fail with an error, not end the program.
    for (const int signal : {SIGPIPE, SIGXFSZ}) std::signal(signal, SIG_IGN);
}

}  // namespace signals
