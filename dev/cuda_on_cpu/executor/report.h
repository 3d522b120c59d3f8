// The executor's messages about mistakes. A mistake that CUDA itself would report comes back as CUDA's error code, with
// a line that says why; one that CUDA would let pass ends the program.
#pragma once

#include <string>

namespace executor {

// The addresses of a host call stack, cheap to take; only text() looks up functions and lines.
struct CallStack {
    static constexpr int kDepth = 24;
    void* frames[kDepth];
    int depth = 0;

    static CallStack here();
    std::string text(int max_lines) const;  // innermost first, without the frames of the executor and of libraries
};
std::string function_name(const void* address);

// Prints "==CUDA-on-CPU== ERROR: message", then the host's call stack.
void complain(const std::string& message, const CallStack& stack = CallStack::here());
[[noreturn]] void die(const std::string& message, const CallStack& stack = CallStack::here());
// Says at exit what was never given back, and ends the program with code 1 if EXECUTOR_LEAKS is "error".
void leaked(const std::string& message);
// Prints an error from inside a kernel, which names the block and the thread too, and ends the program.
[[noreturn]] void kernel_error(const char* format, ...) __attribute__((format(printf, 1, 2)));

}  // namespace executor
