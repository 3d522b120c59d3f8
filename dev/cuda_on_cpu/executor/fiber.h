// A stackful fiber: what a CUDA thread runs on. Made from Boost.Context's assembly, 5 ns a switch; the sanitizers are
// told of every switch. A fiber stays on the OS thread that made it.
#pragma once

#include <boost/context/detail/fcontext.hpp>
#include <cstddef>

namespace executor {

class Fiber {
  public:
    static constexpr size_t kStackBytes = 256 << 10;

    Fiber();                          // what the calling OS thread runs already
    Fiber(void (*body)(), int pool);  // runs `body`, which never returns, at the first switch to it
    ~Fiber();
    Fiber(const Fiber&) = delete;
    // Puts the calling fiber `from` to sleep and wakes this one.
    void switch_from(Fiber& from);
    void* tsan_fiber() const { return tsan_fiber_; }
    const int pool = 0;

  private:
    static void entry(boost::context::detail::transfer_t transfer);
    void arrived(boost::context::detail::transfer_t transfer);

    boost::context::detail::fcontext_t context_ = nullptr;
    void (*body_)() = nullptr;
    char* stack_ = nullptr;  // of the OS thread: known after the first switch away from it, and only under ASan
    size_t stack_bytes_ = 0;
    void* fake_stack_ = nullptr;
    void* tsan_fiber_ = nullptr;
};

// Whether a fault at this address comes from a fiber that used up its stack.
bool is_stack_guard(const void* address);

}  // namespace executor
