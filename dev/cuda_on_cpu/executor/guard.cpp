#include "dev/cuda_on_cpu/executor/guard.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "dev/cuda_on_cpu/executor/device_memory.h"
#include "dev/cuda_on_cpu/executor/fiber.h"
#include "dev/cuda_on_cpu/executor/report.h"

namespace executor {

namespace {

struct sigaction previous_segv, previous_bus;

// Prints, allocates and starts addr2line, none of which a signal handler may do in general. Here the fault is that of a
// plain load or store of user code, which holds no lock.
void handle(int signal, siginfo_t* info, void* context) {
    const FaultCause cause = cause_of_fault(info->si_addr);
    if (is_stack_guard(info->si_addr)) {
        kernel_error("a CUDA thread used up its stack of %zu KiB", Fiber::kStackBytes >> 10);
    } else if (cause == FaultCause::kernel_outside_allocations) {
        kernel_error("a kernel accessed %s", describe(info->si_addr).c_str());
    } else if (cause == FaultCause::host_on_device_memory) {
        fflush(stdout);
        fprintf(stderr, "==CUDA-on-CPU== ERROR: host code touched device memory at %s\n  touched at%s\n",
                describe(info->si_addr).c_str(), CallStack::here().text(8).c_str());
        _exit(1);
    }
    const struct sigaction& previous = signal == SIGSEGV ? previous_segv : previous_bus;
    if (previous.sa_flags & SA_SIGINFO) {
        previous.sa_sigaction(signal, info, context);
    } else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
        previous.sa_handler(signal);
    } else {
        sigaction(signal, &previous, nullptr);  // the fault happens again on return, and ends the program
    }
}

}  // namespace

void install_fault_handler() {
    struct sigaction action = {};
    action.sa_sigaction = &handle;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigaction(SIGSEGV, &action, &previous_segv);
    sigaction(SIGBUS, &action, &previous_bus);
}

void give_fault_handler_a_stack() {
    stack_t current;
    if (sigaltstack(nullptr, &current) != 0 || !(current.ss_flags & SS_DISABLE)) return;
    constexpr size_t kBytes = 256 << 10;
    stack_t stack = {};
    stack.ss_sp = malloc(kBytes);  // for the thread's whole life, which is the program's
    stack.ss_size = kBytes;
    sigaltstack(&stack, nullptr);
}

}  // namespace executor
